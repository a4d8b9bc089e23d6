"""What is tried again, how long it waits, and when it gives up."""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.connector.http.serving import QUICK, Handler, Server, client_for, in_turn, json, serving
from tests.waiting import happened
from vectorferry.connector._model._json import parse_json
from vectorferry.connector.http import RetryPolicy, UnreadableError
from vectorferry.connector.http._answer import Answer, retry_after, service_time

GOOD = json({"ok": 1})


async def ask(server: Server, path: str = "/thing", **settings: Any) -> Any:
    async with aclosing(client_for(server.url, **settings)) as client:
        return await client.request("GET", path, decode=parse_json)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_passing_faults_are_tried_again(status: int) -> None:
    async with serving(in_turn(json({}, status), json({}, status), GOOD)) as server:
        assert await ask(server) == {"ok": 1}
    assert len(server.seen) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 422])
async def test_refusals_are_not(status: int) -> None:
    async with serving(in_turn(json({}, status), GOOD)) as server:
        with pytest.raises(Exception, match=str(status)):
            await ask(server)
    assert len(server.seen) == 1


async def _reset(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _shorter_than_announced(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100", "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"ok": 1}')
    assert request.transport is not None
    request.transport.close()
    return response


async def _silent(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


@pytest.mark.parametrize(
    "fault",
    [
        _reset,
        _shorter_than_announced,
        _silent,
        web.Response(body=b'{"ok": ', content_type="application/json"),
        web.Response(body=b"", content_type="application/json"),
        web.Response(body=b"<html>Welcome</html>", content_type="text/html"),
        web.Response(body=b"no gzip at all", headers={"Content-Encoding": "gzip"}),
        web.Response(body=zlib.compress(b'{"ok": 1}')[:-6], headers={"Content-Encoding": "deflate"}),
        web.Response(body=gzip.compress(b'{"ok": 2}') + b"{}", headers={"Content-Encoding": "gzip"}),
        web.Response(body=b'{"ok": 2}', status=206, content_type="application/json"),
    ],
    ids=["reset", "cut short", "silent", "half a JSON", "empty", "HTML", "no gzip", "half a deflate", "more", "206"],
)
async def test_broken_answers_are_asked_for_again(fault: web.Response | Handler) -> None:
    impatient = QUICK.model_copy(update={"timeout_seconds": 0.2})
    async with serving(in_turn(fault, GOOD)) as server:
        assert await ask(server, retry=impatient) == {"ok": 1}
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    "said", [b"220 mail.example.com ESMTP\r\n", b"HTTP/1.1 200 OK\r\nSet-Cookie: session=canary\r\nContent-Len"]
)
async def test_what_is_not_http_is_given_up_in_our_own_words(said: bytes) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as listener:
        host, port = listener.sockets[0].getsockname()[:2]
        with pytest.raises(UnreadableError, match="connection failed") as told:
            await ask(Server(f"http://{host}:{port}"))
    assert "canary" not in str(told.value)


async def test_an_unreachable_service_is_given_up_in_our_own_words(unused_tcp_port: int) -> None:
    many = QUICK.model_copy(update={"attempts": 50})
    told = (
        rf"127.0.0.1:{unused_tcp_port}.*3 attempts.*connection failed.*\nIt has never answered: check source.base_url"
    )
    with pytest.raises(UnreadableError, match=told):
        await ask(Server(f"http://127.0.0.1:{unused_tcp_port}"), retry=many)


async def test_a_name_without_an_address_is_given_up_as_soon() -> None:
    with pytest.raises(UnreadableError, match=r"nowhere.invalid.* 3 attempts.*\nIt has never answered"):
        await ask(Server("http://nowhere.invalid"), allow_http=True, retry=QUICK.model_copy(update={"attempts": 50}))


async def test_a_service_that_has_answered_before_is_tried_as_long_as_the_policy_says() -> None:
    async with serving(in_turn(GOOD)) as server:
        client = client_for(server.url)
        await client.request("GET", "/thing", decode=parse_json)
    async with aclosing(client):
        with pytest.raises(UnreadableError, match=r"4 attempts.*\nRun again later") as caught:
            await client.request("GET", "/thing", decode=parse_json)
    assert "never answered" not in str(caught.value)


async def test_giving_up_tells_what_was_tried_and_the_last_answer() -> None:
    async with serving(in_turn(json({}, 502), json({"error": {"message": "shard is cold"}}, 503))) as server:
        with pytest.raises(UnreadableError, match=r"GET /thing: 4 attempts.*last: 503 [^:]*: shard is cold"):
            await ask(server)
    assert len(server.seen) == QUICK.attempts


async def test_usage_counts_requests_retries_and_bytes() -> None:
    async with serving(in_turn(json({}, 503), GOOD)) as server, aclosing(client_for(server.url)) as client:
        await client.request("GET", "/thing", decode=parse_json)
    assert (client.usage.requests, client.usage.retries) == (2, 1)
    assert client.usage.bytes == len(b"{}") + len(b'{"ok": 1}')


@asynccontextmanager
async def resetting(answered: int) -> AsyncIterator[tuple[str, list[str]]]:
    """A server that answers so many requests of each connection, and resets it at the next one; with what arrived."""
    arrived: list[str] = []

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(answered):
            arrived.append(await _request_line(reader))
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n" + b'{"ok": 1}'
            )
            await writer.drain()
        arrived.append(await _request_line(reader))
        writer.transport.abort()

    async with await asyncio.start_server(connection, "127.0.0.1", 0) as listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", arrived


async def _request_line(reader: asyncio.StreamReader) -> str:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    if "content-length: " in head.lower():
        await reader.readexactly(int(head.lower().partition("content-length: ")[2].partition("\r")[0]))
    return head.partition(" HTTP")[0]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("answered", [0, 1])
async def test_every_request_that_arrives_is_counted_whatever_happens_to_its_connection(
    method: str, answered: int
) -> None:
    """aiohttp sent what is idempotent once more by itself, uncounted and past every pace."""
    body: Any = {"json": {"page": 1}} if method == "POST" else {}
    async with resetting(answered) as (url, arrived), aclosing(client_for(url)) as client:
        for _ in range(4):
            with suppress(UnreadableError):
                await client.request(method, "/thing", decode=parse_json, **body)
    assert client.usage.requests == len(arrived) == (7 if answered else 16)
    assert client.usage.retries == len(arrived) - 4


def gaps(server: Server) -> list[float]:
    return [later.at - earlier.at for earlier, later in pairwise(server.seen)]


async def test_retry_after_in_seconds_is_waited_for() -> None:
    async with serving(in_turn(json({}, 429, retry_after="1"), GOOD)) as server:
        await ask(server)
    assert gaps(server)[0] >= 0.99


async def test_retry_after_as_a_date_is_waited_for() -> None:
    async def busy(_: web.Request) -> web.StreamResponse:
        until = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        return json({}, 503, retry_after=until)

    async with serving(in_turn(busy, GOOD)) as server:
        await ask(server)
    assert gaps(server)[0] >= 0.9


def test_retry_after_dates_are_read_against_the_services_own_clock() -> None:
    headers = httpx.Headers({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT", "Date": "Sun, 06 Nov 1994 08:49:07 GMT"})
    assert retry_after(Answer(503, headers, b"")) == 30


@pytest.mark.parametrize("date", ["Sun Nov  6 08:49:37 1994", "Sun, 06 Nov 1994 08:49:37 -0000"])
def test_a_date_that_names_no_zone_is_in_utc_wherever_this_runs(monkeypatch: pytest.MonkeyPatch, date: str) -> None:
    """The first is one of the three forms that every recipient has to take."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "EST5")
        time.tzset()
        assert service_time({"date": date}) == datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC).timestamp()
    time.tzset()


@pytest.mark.parametrize("value", ["soon", "Sun, 99 Nov 1994", "", "9" * 400 + "x"])
def test_unreadable_retry_after_is_none(value: str) -> None:
    assert retry_after(Answer(503, httpx.Headers({"Retry-After": value}), b"")) is None


@pytest.mark.parametrize("value", ["3600", "9" * 400, "inf", "nan", "Fri, 31 Dec 2199 23:59:59 GMT"])
async def test_an_absurd_retry_after_is_cut(value: str) -> None:
    policy = QUICK.model_copy(update={"longest_retry_after": 0.05})
    async with serving(in_turn(json({}, 503, retry_after=value), GOOD)) as server:
        assert await ask(server, retry=policy) == {"ok": 1}


@pytest.mark.parametrize("value", ["0", "-5", "Sun, 06 Nov 1994 08:49:37 GMT"])
async def test_retry_after_zero_still_backs_off(value: str) -> None:
    policy = RetryPolicy(attempts=4, total_seconds=20, first_wait=0.1, longest_wait=1)
    async with serving(in_turn(json({}, 429, retry_after=value))) as server:
        with pytest.raises(UnreadableError):
            await ask(server, retry=policy)
    assert len(server.seen) == 4
    assert all(gap >= expected for gap, expected in zip(gaps(server), (0.09, 0.19, 0.39), strict=True))


async def test_too_many_requests_holds_the_others_back_too() -> None:
    answers = in_turn(json({}, 429, retry_after="1"), GOOD)
    async with serving(answers) as server, aclosing(client_for(server.url)) as client:
        first = asyncio.create_task(client.request("GET", "/first", decode=parse_json))
        await happened(lambda: client.usage.bytes)
        await client.request("GET", "/second", decode=parse_json)
        await first
    assert gaps(server)[0] >= 0.9


async def _drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("stalling", [_drip, _silent], ids=["dripping", "silent"])
async def test_one_request_ends_with_its_total_time(stalling: Handler) -> None:
    policy = RetryPolicy(total_seconds=0.3)
    async with serving(stalling) as server:
        with pytest.raises(UnreadableError, match=r"1 attempt, at most 0.3 s"):
            await ask(server, retry=policy)


async def test_no_wait_begins_that_would_not_end_in_time() -> None:
    policy = RetryPolicy(total_seconds=5, longest_retry_after=60)
    async with serving(in_turn(json({}, 503, retry_after="60"))) as server:
        with pytest.raises(UnreadableError, match="1 attempt"):
            await ask(server, retry=policy)


async def test_requests_per_minute_space_the_requests() -> None:
    async with serving(in_turn(GOOD)) as server, aclosing(client_for(server.url, requests_per_minute=600)) as client:
        await _many(5, lambda n: client.request("GET", f"/{n}", decode=parse_json))
    assert server.seen[-1].at - server.seen[0].at >= 0.39


async def test_waiting_for_a_turn_does_not_count_against_the_time_limit() -> None:
    async with serving(in_turn(GOOD)) as server:
        policy = RetryPolicy(total_seconds=0.25)
        async with aclosing(client_for(server.url, requests_per_minute=600, retry=policy, concurrency=8)) as client:
            answers = await _many(8, lambda n: client.request("GET", f"/{n}", decode=parse_json))
    assert answers == [{"ok": 1}] * 8


async def _many(count: int, request: Callable[[int], Awaitable[Any]]) -> list[Any]:
    return await asyncio.gather(*(request(number) for number in range(count)))
