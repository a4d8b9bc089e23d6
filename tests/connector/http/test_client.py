"""Answers and refusals, bounds, and clean ends."""

from __future__ import annotations

import asyncio
import gzip
import logging
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from tests.certificates import CERTIFICATE
from tests.connector.http.serving import KEY, client_for, client_tasks, in_turn, json, serving
from tests.examples import family
from vectorferry.connector._model._errors import QuarantineError, SourceError
from vectorferry.connector._model._json import parse_json
from vectorferry.connector.http import NotFoundError, RefusedError, UnreadableError, UnsendableError
from vectorferry.connector.sources.mixpeek import MixpeekSettings


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"success": False, "status": 400, "error": {"message": "no such field", "type": "BadRequestError"}},
            "no such field",
        ),
        ({"detail": [{"msg": "no such field"}]}, "no such field"),
        ({"error": "BadRequest", "message": "File size exceeds 1 GB", "details": {}}, "File size exceeds 1 GB"),
        (
            {"detail": [{"loc": ["body", "collections"], "msg": "Field required", "type": "missing"}]},
            "body.collections: Field required",
        ),
        ({"detail": "Not like that"}, "Not like that"),
        ({"code": "parameter_invalid", "message": "index_id is invalid"}, "index_id is invalid"),
        ("Not\nlike\tthat", "Not like that"),
    ],
)
@pytest.mark.parametrize("status", [400, 422])
async def test_a_refusal_repeats_the_services_own_words(status: int, body: Any, said: str) -> None:
    async with serving(in_turn(json(body, status))) as server, aclosing(client_for(server.url)) as client:
        with pytest.raises(RefusedError, match=said) as caught:
            await client.request("POST", "/assets", json={"a": 1}, decode=parse_json)
    assert caught.value.status == status


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"<html>",
        b"\xff\x00",
        b'{"detail": null}',
        b'{"error": {"message": 5}}',
        b"x" * 50_000,
        b"[" * 9_000,
    ],
)
async def test_a_refusal_in_any_other_form_is_still_one_short_message(body: bytes) -> None:
    async with (
        serving(in_turn(web.Response(status=400, body=body))) as server,
        aclosing(client_for(server.url)) as client,
    ):
        with pytest.raises(RefusedError, match="400") as caught:
            await client.request("GET", "/thing", decode=parse_json)
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("status", [404, 410])
async def test_what_is_not_there_is_told_apart(status: int) -> None:
    async with serving(in_turn(json({}, status))) as server, aclosing(client_for(server.url)) as client:
        with pytest.raises(NotFoundError, match="GET /thing"):
            await client.request("GET", "/thing", decode=parse_json)


async def test_json_and_parameters_are_sent() -> None:
    async with serving(in_turn(json({}))) as server, aclosing(client_for(server.url)) as client:
        await client.request("POST", "/assets", params={"page": 3}, json={"collections": ["ä"]}, decode=parse_json)
    seen = server.seen[0]
    assert (seen.method, seen.query, parse_json(seen.body)) == ("POST", {"page": "3"}, {"collections": ["ä"]})
    assert seen.headers["Content-Type"] == "application/json"


async def test_a_request_is_logged_without_the_key(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with serving(in_turn(json({}))) as server, aclosing(client_for(server.url)) as client:
            await client.request("GET", "/assets", params={"page": 3}, decode=parse_json)
    said = [record.getMessage() for record in caplog.records if record.name == "vectorferry.http"]
    assert said == [f"GET {server.url}/assets?page=3: 200, 2 bytes"]
    assert KEY not in caplog.text


async def test_what_decode_quarantines_passes_through_at_once() -> None:
    def decode(_: bytes) -> None:
        raise QuarantineError("malformed", "not like that")

    async with serving(in_turn(json({}))) as server, aclosing(client_for(server.url)) as client:
        with pytest.raises(QuarantineError):
            await client.request("GET", "/thing", decode=decode)
    assert len(server.seen) == 1


async def test_a_too_large_answer_is_cut_off_while_it_comes() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 10_000)

    async with serving(endless) as server, aclosing(client_for(server.url, max_answer_bytes=1_000_000)) as client:
        with pytest.raises(UnreadableError, match="larger than 1,000,000 bytes"):
            await client.request("GET", "/thing", decode=parse_json)
    assert len(server.seen) == 1


async def test_a_small_answer_that_grows_when_decompressed_counts_in_full() -> None:
    bomb = web.Response(body=zlib.compress(b"x" * 5_000_000), headers={"Content-Encoding": "deflate"})
    async with serving(in_turn(bomb)) as server, aclosing(client_for(server.url, max_answer_bytes=1_000_000)) as client:
        with pytest.raises(UnreadableError, match="larger"):
            await client.request("GET", "/thing", decode=parse_json)


@pytest.mark.parametrize("encoding", family(["gzip", "gzip, gzip", "deflate, gzip", "br", "zstd"], always=(1,)))
async def test_an_answer_never_grows_far_beyond_what_is_allowed(encoding: str) -> None:
    """300 megabytes in three hundred kilobytes, and those in less than one."""
    once = _zipped(300)
    bomb = web.Response(body=gzip.compress(once) if "," in encoding else once, headers={"Content-Encoding": encoding})
    async with serving(in_turn(bomb)) as server, aclosing(client_for(server.url, max_answer_bytes=1_000_000)) as client:
        tracemalloc.start()
        with pytest.raises(UnreadableError, match=r"larger than 1,000,000 bytes|encoding that was not asked for"):
            await client.request("GET", "/thing", decode=parse_json)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 20_000_000


async def test_what_comes_behind_the_end_of_a_compressed_answer_is_not_kept() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Encoding": "gzip"})
        await answer.prepare(request)
        with suppress(ConnectionError):
            await answer.write(gzip.compress(b'{"ok": 1}'))
            for _ in range(50):
                await answer.write(bytes(1_000_000))
        return answer

    async with serving(endless) as server, aclosing(client_for(server.url, max_answer_bytes=1_000_000)) as client:
        tracemalloc.start()
        with pytest.raises(UnreadableError, match="something behind its end"):
            await client.request("GET", "/thing", decode=parse_json)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 20_000_000


@cache
def _zipped(megabytes: int) -> bytes:
    made = zlib.compressobj(wbits=31)
    return b"".join([*(made.compress(bytes(1_000_000)) for _ in range(megabytes)), made.flush()])


async def test_a_compressed_answer_is_read() -> None:
    zipped = web.Response(body=gzip.compress(b'{"ok": 1}'), headers={"Content-Encoding": "gzip"})
    async with serving(in_turn(zipped)) as server, aclosing(client_for(server.url)) as client:
        assert await client.request("GET", "/thing", decode=parse_json) == {"ok": 1}
    assert server.seen[0].headers["Accept-Encoding"] == "gzip"


@pytest.mark.parametrize("ending", [b"\r\n", b""], ids=["headers", "one header"])
async def test_headers_without_end_are_not_read(ending: bytes) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        with suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"x" * 1_000 + (ending and ending + b"X: "))
                await writer.drain()

    async with await asyncio.start_server(endless, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with aclosing(client_for(f"http://127.0.0.1:{port}")) as client:
            with pytest.raises(UnreadableError, match="connection failed"):
                await client.request("GET", "/thing", decode=parse_json)


async def test_no_more_requests_at_once_than_allowed() -> None:
    at_once = most = 0
    full = asyncio.Event()

    async def handler(_: web.Request) -> web.StreamResponse:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        if most == 5:
            full.set()
        await full.wait()
        await asyncio.sleep(0.01)
        at_once -= 1
        return json({})

    async with serving(handler) as server, aclosing(client_for(server.url, concurrency=5)) as client:
        await asyncio.gather(*(client.request("GET", f"/{n}", decode=parse_json) for n in range(30)))
    assert most == 5


async def test_cancelled_requests_leave_no_task_and_no_slot_taken() -> None:
    asked = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/stuck":
            asked.set()
            await asyncio.sleep(30)
        return json({})

    async with serving(handler) as server, aclosing(client_for(server.url, concurrency=1)) as client:
        stuck = asyncio.create_task(client.request("GET", "/stuck", decode=parse_json))
        await asked.wait()
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck
        before = client_tasks()
        assert await client.request("GET", "/thing", decode=parse_json) == {}
        assert client_tasks() <= before


def test_a_client_opens_again_in_another_event_loop() -> None:
    async def once() -> None:
        async with serving(in_turn(json({}))) as server:
            client._address.base_url = server.url
            await asyncio.gather(*(client.request("GET", "/thing", decode=parse_json) for _ in range(4)))
            await client.aclose()
            await client.aclose()

    client = client_for("http://127.0.0.1", concurrency=1, requests_per_minute=60_000)
    asyncio.run(once())
    asyncio.run(once())
    assert client.usage.requests == 8


async def test_a_certificate_that_is_not_trusted_stops_at_once(untrusted_https: str) -> None:
    async with aclosing(client_for(untrusted_https)) as client:
        with pytest.raises(SourceError, match=r"certificate.*not trusted.*base_url"):
            await client.request("GET", "/thing", decode=parse_json)
    assert client.usage.requests == 1


SWITCHES = {
    "PYTHONHTTPSVERIFY": "0",
    "CURL_CA_BUNDLE": "",
    "REQUESTS_CA_BUNDLE": "",
    "SSL_CERT_FILE": "",
    "SSL_VERIFY": "0",
}


async def test_no_variable_of_the_environment_turns_verification_off(
    untrusted_https: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SWITCHES.items():
        monkeypatch.setenv(name, value)
    async with aclosing(client_for(untrusted_https)) as client:
        with pytest.raises(SourceError, match=r"certificate.*not trusted"):
            await client.request("GET", "/thing", decode=parse_json)


@pytest.mark.parametrize("name", ["verify", "verify_ssl", "ssl_verify", "insecure", "verify_tls"])
def test_no_setting_turns_verification_off(name: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        MixpeekSettings.model_validate({name: False})


TrustedHttps = Callable[[bytes], AbstractAsyncContextManager[str]]


@pytest.fixture
def trusted_https(self_signed: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrustedHttps:
    """A server that answers every request with these bytes, and whose certificate is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / CERTIFICATE))

    @asynccontextmanager
    async def serve(answer: bytes) -> AsyncIterator[str]:
        async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(reply, "127.0.0.1", 0, ssl=self_signed) as listener:
            yield f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"

    return serve


async def test_an_authority_of_one_s_own_is_named_by_a_variable(trusted_https: TrustedHttps) -> None:
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n{"ok": 1}'
    async with trusted_https(answer) as url, aclosing(client_for(url)) as client:
        assert await client.request("GET", "/thing", decode=parse_json) == {"ok": 1}


async def test_a_redirect_from_https_to_http_is_not_followed(trusted_https: TrustedHttps) -> None:
    async with serving(in_turn(json({}))) as plain:
        answer = f"HTTP/1.1 302 Found\r\nLocation: {plain.url}/thing\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        async with trusted_https(answer.encode()) as url, aclosing(client_for(url)) as client:
            with pytest.raises(SourceError, match="redirects are not followed"):
                await client.request("GET", "/thing", decode=parse_json)
    assert plain.seen == []


@pytest.mark.parametrize(
    "unsendable",
    [
        {"params": {"option": ["visual", "\ud800"]}},
        {"params": {"option": "x" * 70_000}},
        {"json": {"collections": ["\ud800"]}},
        {"form": [("query_text", "\ud800")]},
        {"form": [("\ud800", "x")]},
    ],
    ids=["query", "long query", "body", "form", "name in a form"],
)
async def test_text_that_no_request_can_hold_is_an_error_of_ours_and_is_not_sent(unsendable: dict[str, Any]) -> None:
    """A service may have told it: JSON can spell half of a surrogate pair, and UTF-8 cannot."""
    async with serving(in_turn(json({"ok": 1}))) as server, aclosing(client_for(server.url)) as client:
        with pytest.raises(UnsendableError, match="POST /assets was not sent"):
            await client.request("POST", "/assets", decode=parse_json, **unsendable)
        with pytest.raises(UnsendableError, match="was not sent"):
            await client.request("GET", "/assets/\ud800", decode=parse_json)
        assert await client.request("GET", "/assets", decode=parse_json) == {"ok": 1}
    assert len(server.seen) == client.usage.requests == 1
