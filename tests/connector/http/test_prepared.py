"""Requests that are written once: what is sent, and what becomes of connections, as aiohttp's session has it."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, unquote

import aiohttp
import httpx
import pytest
from aiohttp import web

from tests.connector.http.serving import client_for, json, serving
from tests.waiting import happened
from vectorferry.connector._model._json import parse_json
from vectorferry.connector.http import _prepared as prepared
from vectorferry.connector.http import segment
from vectorferry.connector.http._exchange import Outgoing, SingleSendTransport

BY_THE_SESSION = ("none",)
BY_THE_SESSION_ALONE = "OPTIONS"
ODD = "a b/c?d#e%f&g=h+ü~.'(x)!*"


async def asked(path: str, method: str = "GET", **request: Any) -> tuple[str, list[tuple[str, str]], bytes]:
    """What a server sees of a request: its target as it was sent, its headers and its body."""
    seen: list[tuple[str, list[tuple[str, str]], bytes]] = []

    async def answer(raw: web.Request) -> web.Response:
        headers = sorted((name, text) for name, text in raw.headers.items() if name != "Host")
        seen.append((f"{raw.method} {raw.raw_path}", headers, await raw.read()))
        return json({"host": raw.headers["Host"]})

    async with serving(answer) as server, aclosing(client_for(f"{server.url}/base")) as client:
        said = await client.request(method, path, decode=parse_json, **request)
        assert said == {"host": server.host}
    return seen[0]


@pytest.mark.parametrize(
    ("path", "params"),
    [("/assets", None), (f"/assets/{segment(ODD)}", {"q": ODD, "option": ["visual", "audio"], "page": 2})],
)
async def test_the_same_is_sent_as_by_the_session(
    path: str, params: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = await asked(path, params=params)
    monkeypatch.setattr(prepared, "TRIED", BY_THE_SESSION)
    target, headers, _ = await asked(path, params=params)
    assert ours[1] == headers
    assert unquoted(ours[0]) == unquoted(target)  # the session undoes what need not be quoted


@pytest.mark.parametrize(
    ("method", "request_of"),
    [
        ("POST", {"json": {"collections": ["ü", None]}}),
        ("POST", {}),
        ("PUT", {"json": []}),
        ("PATCH", {"json": {}}),
        ("DELETE", {}),
        ("DELETE", {"json": {"ids": [1]}}),
    ],
)
async def test_so_is_what_has_a_body(method: str, request_of: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    ours = await asked("/assets", method, **request_of)
    monkeypatch.setattr(prepared, "TRIED", BY_THE_SESSION)
    target, headers, body = await asked("/assets", method, **request_of)
    of_nothing = ("Content-Type", "application/octet-stream")
    assert ours == (target, [header for header in headers if header != of_nothing], body)


async def test_a_form_has_its_own_kind_of_content() -> None:
    _, headers, body = await asked("/assets", "POST", form=[("url", "https://example.com/ü.mp4"), ("option", "visual")])
    kind = dict(headers)["Content-Type"]
    assert kind.startswith("multipart/form-data; boundary=")
    assert body.count(kind.partition("boundary=")[2].encode()) == 3
    assert "https://example.com/ü.mp4".encode() in body


def unquoted(target: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The parts of a path, and its query."""
    path, _, query = target.partition("?")
    return [unquote(part) for part in path.split("/")], parse_qsl(query)


async def test_an_address_that_has_to_be_quoted_first_is_asked_too() -> None:
    async def answer(raw: web.Request) -> web.Response:
        return json(raw.path)

    async with serving(answer) as server, aclosing(client_for(f"{server.url}/a|b/ü")) as client:
        assert await client.request("GET", "/c", decode=parse_json) == "/a|b/ü/c"


def test_the_release_that_is_installed_is_known() -> None:
    assert aiohttp.__version__.startswith(prepared.TRIED)


@pytest.mark.parametrize("releases", [prepared.TRIED, BY_THE_SESSION])
async def test_what_an_answer_sets_travels_with_no_other_request(
    releases: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "TRIED", releases)

    async def answer(raw: web.Request) -> web.Response:
        return json(raw.headers.get("Cookie"), set_cookie="session=canary")

    async with serving(answer) as server, aclosing(client_for(server.url)) as client:
        assert [await client.request("GET", "/a", decode=parse_json) for _ in range(2)] == [None, None]


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """Has each connection served; all have to be closed by the other side in the end."""
    served: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(lambda *ends: served.add(asyncio.create_task(handle(*ends))), "127.0.0.1", 0)
    async with server:
        yield "http://{}:{}".format(*server.sockets[0].getsockname()[:2])
    await asyncio.gather(*served)


@asynccontextmanager
async def raw_server(*answers: bytes) -> AsyncIterator[tuple[str, list[int]]]:
    """Answers the requests of each connection with these bytes in turn; and after how many of them it was closed."""
    closed: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests = 0
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            writer.write(answers[min(requests, len(answers) - 1)])
            requests += 1
        closed.append(requests)

    async with listening(serve) as url:
        yield url, closed


def sized(body: bytes, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (more, len(body), body)


async def test_a_connection_is_used_again_and_hints_are_no_answer() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
    async with raw_server(sized(b"1"), hints + sized(b"2"), sized(b"3", b"Connection: close\r\n")) as (url, closed):
        async with aclosing(client_for(url, concurrency=1)) as client:
            said = [await client.request("GET", "/a", decode=parse_json) for _ in range(4)]
        assert said == [1, 2, 3, 1]
    assert closed[0] == 3


async def test_a_client_that_is_closed_while_an_answer_is_read_leaves_no_connection() -> None:
    async def ask(url: str) -> bytes:
        async def read(_headers: object, content: aiohttp.StreamReader, _silence: object) -> bytes:
            body = await content.read()
            await transport.aclose()
            return body

        transport = SingleSendTransport(httpx.Limits(), proxy=None)
        return (await transport.exchange(Outgoing("GET", f"{url}/a"), read)).body

    with warnings.catch_warnings(record=True, action="always", category=ResourceWarning) as warned:
        async with raw_server(sized(b"1")) as (url, closed):
            assert await ask(url) == b"1"
        gc.collect()
    assert closed == [1]
    assert not warned  # as an error, it would be one of the test that runs when it is found


async def test_who_is_cancelled_leaves_no_answer_to_the_next() -> None:
    """Half of an answer has come by then."""
    half = sized(b'"the first"')[:-5]
    async with raw_server(half, sized(b'"never"')) as (url, closed), aclosing(client_for(url, concurrency=1)) as client:
        cancelled = asyncio.create_task(client.request("GET", "/a", decode=parse_json))
        await happened(lambda: client.usage.requests)
        for _ in range(200):
            await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        again = asyncio.create_task(client.request("GET", "/a", decode=parse_json))
        await happened(lambda: closed)
        assert closed == [1]
        again.cancel()
        with pytest.raises(asyncio.CancelledError):
            await again


@pytest.mark.parametrize("path", ["/a", "/a|b"])
@pytest.mark.parametrize("request_of", [{"method": "GET"}, {"method": "POST", "json": {"page": 1}}])
async def test_what_comes_without_a_request_is_nobodys_answer(path: str, request_of: dict[str, Any]) -> None:
    first_read = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers with the target, and once more, with something else, when the first answer has been read."""
        while line := await reader.readline():
            length = 0
            while header := (await reader.readline()).strip():
                length = int(header.split()[1]) if header.lower().startswith(b"content-length:") else length
            await reader.readexactly(length)
            writer.write(sized(b'"%b"' % line.split()[1]))
            await first_read.wait()
            writer.write(sized(b'"nobody asked"'))

    async with listening(serve) as url, aclosing(client_for(url, concurrency=1)) as client:
        assert unquote(await client.request(path=path, decode=parse_json, **request_of)) == path
        first_read.set()
        for _ in range(200):
            await asyncio.sleep(0)
        assert await client.request(path="/b", decode=parse_json, **request_of) == "/b"


async def test_connections_that_are_kept_are_in_nobodys_way() -> None:
    """As many are open as may be when something is sent by the session, and all are closed at the end."""

    async def answer(raw: web.Request) -> web.Response:
        return json(raw.path)

    async with serving(answer) as server, aclosing(client_for(server.url, concurrency=2)) as client:
        for method in ("GET", BY_THE_SESSION_ALONE, "GET"):
            asked = [client.request(method, "/a", decode=parse_json) for _ in range(4)]
            assert await asyncio.gather(*asked) == ["/a"] * 4


async def test_a_connection_that_was_idle_for_long_is_not_used_again() -> None:
    async with (
        raw_server(sized(b"1"), sized(b"2")) as (url, closed),
        aclosing(client_for(url, concurrency=1)) as client,
    ):
        assert await client.request("GET", "/a", decode=parse_json) == 1
        await asyncio.sleep(6)  # no time passes in this loop
        assert await client.request("GET", "/a", decode=parse_json) == 1
        assert closed == [1]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("releases", [prepared.TRIED, BY_THE_SESSION])
async def test_a_request_ends_with_its_client(
    method: str, releases: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not sent again, nor does it wait until the time for all attempts is over."""
    monkeypatch.setattr(prepared, "TRIED", releases)
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readline()
        asked.set()
        await reader.read()

    async with listening(serve) as url, aclosing(client_for(url, concurrency=1)) as client:
        request = asyncio.create_task(client.request(method, "/a", decode=parse_json))
        await asked.wait()
        await client.aclose()
        with pytest.raises(RuntimeError, match="closed"):
            await request
