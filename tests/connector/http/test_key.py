"""The key goes to one host, and to no message, log or repr."""

from __future__ import annotations

import asyncio
import logging
import traceback
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import aclosing
from json import dumps
from urllib.parse import quote

import aiohttp
import httpx
import pytest
from aiohttp import http_exceptions, web
from pydantic import SecretStr

from tests.connector.http.serving import KEY, client_for, in_turn, json, serving
from tests.examples import family
from tests.urls import PROXY_SECRETS, UNUSABLE_PROXIES, set_proxies
from vectorferry.connector._model._json import parse_json
from vectorferry.connector.http import ApiClient, ForbiddenError, RetryPolicy
from vectorferry.connector.http._errors import without_key
from vectorferry.connector.http._exchange import LIBRARY_FAILURES
from vectorferry.connector.plugin import ConfigurationError, CredentialsError, SourceError, VectorferryError


async def test_the_key_travels_as_a_bearer_beside_the_extra_headers() -> None:
    async with (
        serving(in_turn(json({}))) as server,
        aclosing(client_for(server.url, headers={"X-Namespace": "ns_1"})) as client,
    ):
        await client.request("GET", "/thing", decode=parse_json)
    headers = server.seen[0].headers
    assert (headers["Authorization"], headers["X-Namespace"]) == (f"Bearer {KEY}", "ns_1")


async def test_a_service_may_want_the_key_in_a_header_of_its_own() -> None:
    async with serving(in_turn(json({}))) as server, aclosing(client_for(server.url, key_header="x-api-key")) as client:
        await client.request("GET", "/thing", decode=parse_json)
    assert server.seen[0].headers["x-api-key"] == KEY
    assert "Authorization" not in server.seen[0].headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with serving(in_turn(json({}))) as other:
        location = f"http://somebody:secret@{other.host}/thing"
        async with (
            serving(in_turn(json({}, status, location=location))) as server,
            aclosing(client_for(server.url)) as client,
        ):
            with pytest.raises(SourceError, match=f"redirects .* to {other.host}") as caught:
                await client.request("GET", "/thing", decode=parse_json)
    assert "secret" not in str(caught.value)
    assert len(server.seen) == 1
    assert other.seen == []


async def test_a_proxy_of_the_environment_never_sees_a_key_sent_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(in_turn(json({}))) as proxy, serving(in_turn(json({}))) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        async with aclosing(client_for(server.url)) as client:
            await client.request("GET", "/thing", decode=parse_json)
    assert proxy.seen == []
    assert len(server.seen) == 1


async def test_a_proxy_of_the_environment_sees_no_key_on_the_way_to_https(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        async with aclosing(client_for("https://mixpeek.test")) as client:
            with pytest.raises(VectorferryError) as caught:
                await client.request("GET", "/thing", decode=parse_json)
    assert heard[0].startswith(b"CONNECT mixpeek.test:443 ")
    assert KEY.encode() not in b"".join(heard)
    assert_silent(caught.value, client)


@pytest.mark.parametrize(
    ("status", "said", "asked"),
    [
        (407, "answers 407 Proxy Authentication Required. Check user and password in HTTPS_PROXY", 1),
        (403, "answers 403 Forbidden. Ask whoever runs it, or name mixpeek.test in NO_PROXY", 1),
        (503, "answers 503 Service Unavailable.\nIt has never answered", 2),
    ],
)
async def test_what_a_proxy_refuses_is_not_laid_to_the_service(
    monkeypatch: pytest.MonkeyPatch, status: int, said: str, asked: int
) -> None:
    heard: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"http://us%C3%A9r:%E2%82%AC@127.0.0.1:{port}")
        policy = RetryPolicy(attempts=2, first_wait=0.001)
        async with aclosing(client_for("https://mixpeek.test", retry=policy)) as client:
            with pytest.raises(SourceError) as caught:
                await client.request("GET", "/thing", decode=parse_json)
    assert f"the proxy 127.0.0.1:{port} of the environment {said}" in str(caught.value)
    assert len(heard) == asked
    assert b64encode("usér:€".encode()) in heard[0]


@pytest.mark.parametrize("variable", family(["HTTPS_PROXY", "ALL_PROXY"]))
@pytest.mark.parametrize("proxy", ["gopher://127.0.0.1:70", "socks5://127.0.0.1:1080", *UNUSABLE_PROXIES])
async def test_unusable_proxy_settings_are_named(monkeypatch: pytest.MonkeyPatch, proxy: str, variable: str) -> None:
    set_proxies(monkeypatch, **{variable: proxy})
    client = client_for("https://127.0.0.1")
    with pytest.raises(ConfigurationError, match=variable) as caught:
        await client.request("GET", "/thing", decode=parse_json)
    assert_silent(caught.value, client, [KEY, *PROXY_SECRETS])


def _echo(status: int) -> Callable[[web.Request], web.Response]:
    def answer(request: web.Request) -> web.Response:
        said = request.headers["Authorization"]
        return web.Response(
            status=status,
            headers={"Location": f"http://{said.rpartition(' ')[2]}.example.com/", "X-Echo": said},
            text=f'{{"error": {{"message": "bad key: {said}"}}}}',
        )

    return answer


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 422, 429, 500])
async def test_a_service_that_echoes_the_key_does_not_bring_it_into_errors_or_logs(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = _echo(status)

    async def handler(request: web.Request) -> web.StreamResponse:
        return echo(request)

    async with serving(handler) as server, aclosing(client_for(server.url)) as client:
        with pytest.raises(VectorferryError) as caught:
            await client.request("GET", "/thing", decode=parse_json)
    assert_silent(caught.value, client)
    assert KEY not in caplog.text


HALF = len(KEY) // 2
ECHOES = {
    "cut": f"{'x' * 290} {KEY}",
    "cut after spaces": f"{'x ' * 592} {KEY}",
    "wrapped": f"{KEY[:HALF]}\n{KEY[HALF:]}",
    "spaced": " ".join(KEY),
    "with NUL": f"{KEY[:HALF]}\0{KEY[HALF:]}",
    "its beginning": f"{KEY[:-2]}.",
    "its end": f"…{KEY[2:]}.",
}


@pytest.mark.parametrize("content_type", family(["application/json", "text/plain"]))
@pytest.mark.parametrize("status", family([200, 401, 422, 500], always=(0, 1)))
@pytest.mark.parametrize("said", ECHOES.values(), ids=ECHOES)
async def test_no_part_of_a_key_that_is_echoed_shows(said: str, status: int, content_type: str) -> None:
    body = dumps({"message": said}) if content_type == "application/json" else said
    answer = web.Response(status=status, text=body, headers={"Content-Type": f"{content_type}; echo={said!r}"})
    async with serving(in_turn(answer)) as server, aclosing(client_for(server.url)) as client:
        with pytest.raises(VectorferryError) as caught:
            await client.request("GET", "/thing", decode=_refuse)
    shown = "".join(str(caught.value).split())
    assert not [KEY[at : at + 6] for at in range(len(KEY) - 5) if KEY[at : at + 6] in shown]


@pytest.mark.parametrize("key", ["x", "key", "q1"])
def test_what_somebody_typed_in_place_of_a_key_does_not_spoil_the_words(key: str) -> None:
    said = "The API is invalid or has run out"
    assert without_key(said, key) == said
    assert without_key(f"{said}: {key}", key) == f"{said}: ***"


@pytest.mark.parametrize("before", range(3))
@pytest.mark.parametrize("form", ["base64", "an address"])
async def test_no_part_of_a_key_that_is_echoed_in_another_form_shows(form: str, before: int) -> None:
    key = "sk/canary+7f3a&9c="
    said = b64encode(b"u:"[:before] + key.encode()).decode() if form == "base64" else quote(key, safe="")
    async with (
        serving(in_turn(json({"message": f"no {said}."}, 422))) as server,
        aclosing(client_for(server.url, api_key=SecretStr(key))) as client,
    ):
        with pytest.raises(VectorferryError, match=r"no [A-Za-z0-9+/=]{0,4}\*\*\*") as caught:
            await client.request("GET", "/thing", decode=_refuse)
    assert not [said[at : at + 6] for at in range(len(said) - 5) if said[at : at + 6] in str(caught.value)]


def _refuse(body: bytes) -> None:
    raise ValueError(body.decode())


@pytest.mark.parametrize("body", [b'{"error":' * 900 + b"1" + b"}" * 900, b"[" * 900 + b'"a"' + b"]" * 900])
async def test_an_error_that_is_nested_without_end_has_no_words(body: bytes) -> None:
    nested = web.Response(status=422, body=body, content_type="application/json")
    within = web.Response(status=422, body=b'[{"loc": [' + body + b'], "msg": "a"}]', content_type="application/json")
    async with serving(in_turn(nested, within)) as server, aclosing(client_for(server.url)) as client:
        for _ in range(2):
            with pytest.raises(VectorferryError, match="422 Unprocessable"):
                await client.request("GET", "/thing", decode=parse_json)


async def test_a_reason_phrase_is_not_repeated() -> None:
    answer = web.Response(status=400, reason=f"Not {KEY}")
    async with serving(in_turn(answer)) as server, aclosing(client_for(server.url)) as client:
        with pytest.raises(VectorferryError, match="400 Bad Request") as caught:
            await client.request("GET", "/thing", decode=parse_json)
    assert_silent(caught.value, client)


async def test_failed_connections_do_not_bring_it_either(unused_tcp_port: int) -> None:
    async with aclosing(client_for(f"http://127.0.0.1:{unused_tcp_port}")) as client:
        with pytest.raises(VectorferryError) as caught:
            await client.request("GET", "/thing", decode=parse_json)
    assert_silent(caught.value, client)


async def test_too_large_answers_do_not_bring_it_either() -> None:
    async with (
        serving(in_turn(json(["x" * 5_000]))) as server,
        aclosing(client_for(server.url, max_answer_bytes=1_000)) as client,
    ):
        with pytest.raises(VectorferryError) as caught:
            await client.request("GET", "/thing", decode=parse_json)
    assert_silent(caught.value, client)


def assert_silent(error: VectorferryError, client: ApiClient, secrets: Sequence[str] = (KEY,)) -> None:
    """Neither the error as anybody may print it, nor an exception behind it that holds the request."""
    printed = "".join(traceback.format_exception(error))
    shown = printed + repr(error) + repr(client) + repr(vars(error)) + repr(client._settings)
    assert [secret for secret in secrets if secret in shown] == []
    assert isinstance(error.__context__, VectorferryError | None)
    assert isinstance(error.__cause__, VectorferryError | None)


@pytest.mark.parametrize(("status", "kind"), [(401, CredentialsError), (403, ForbiddenError)])
async def test_a_refused_key_names_the_setting(status: int, kind: type[VectorferryError]) -> None:
    body = {"success": False, "status": status, "error": {"message": "Invalid API key", "type": "UnauthorizedError"}}
    async with serving(in_turn(json(body, status))) as server, aclosing(client_for(server.url)) as client:
        with pytest.raises(kind, match=r"Invalid API key.*source.api_key \(by default \$\{SOME_KEY\}\)"):
            await client.request("GET", "/thing", decode=parse_json)


@pytest.mark.parametrize("key", ["", "  ", "${SOME_KEY}", "sk_a\nX-Evil: 1", "sk_ä", "sk_\x00"])
def test_a_key_that_cannot_be_sent_is_a_configuration_error(key: str) -> None:
    with pytest.raises(ConfigurationError, match=r"source\.api_key") as caught:
        client_for("http://127.0.0.1", api_key=SecretStr(key))
    assert not key.strip() or key.startswith("${") or key not in str(caught.value)


def test_a_header_that_cannot_be_sent_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="X-Namespace"):
        client_for("http://127.0.0.1", headers={"X-Namespace": "ns\r\nX-Evil: 1"})


def _exceptions_of(*modules: object) -> list[type[Exception]]:
    found = {thing for module in modules for thing in vars(module).values() if isinstance(thing, type)}
    kinds = (kind for kind in found if issubclass(kind, Exception) and not kind.__name__.startswith("WS"))
    return sorted(kinds, key=lambda kind: kind.__name__)


@pytest.mark.parametrize(
    "kind", _exceptions_of(httpx, aiohttp.client_exceptions, http_exceptions), ids=lambda kind: kind.__name__
)
def test_every_exception_of_the_libraries_is_translated(kind: type[Exception]) -> None:
    assert issubclass(kind, LIBRARY_FAILURES)
