"""Time limits: one timer ends each at its own time, and what is not the service's silence does not count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.connector.http.serving import QUICK, client_for
from tests.event_loop import WaitingLoop
from tests.examples import examples
from vectorferry.connector._model._errors import CredentialsError
from vectorferry.connector._model._json import parse_json
from vectorferry.connector.http import UnreadableError
from vectorferry.connector.http import _prepared as prepared
from vectorferry.connector.http._pace import Timer

SILENCE = QUICK.timeout_seconds
PATIENT = QUICK.model_copy(update={"total_seconds": 3_600, "attempts": 1})
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"


async def ended_at(timer: Timer, seconds: float, work: float) -> tuple[str, float]:
    """How work that takes so long ends under this limit, and after how long."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        with timer.limit(seconds):
            await asyncio.sleep(work)
    except TimeoutError:
        return "late", round(loop.time() - began, 3)
    return "done", round(loop.time() - began, 3)


@settings(max_examples=examples(10, 200), deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=8).map(lambda each: each + each[:2]))
def test_each_ends_at_its_own_time_whatever_began_before(limits: list[tuple[int, int]]) -> None:
    async def run() -> list[tuple[str, float]]:
        timer = Timer()
        return await asyncio.gather(*(ended_at(timer, seconds, work + 0.5) for seconds, work in limits))

    with asyncio.Runner(loop_factory=WaitingLoop) as runner:
        ends = runner.run(run())
    assert ends == [("late", seconds) if work + 0.5 > seconds else ("done", work + 0.5) for seconds, work in limits]


async def test_what_it_is_paused_for_does_not_count_and_it_can_begin_again() -> None:
    async def work() -> None:
        with Timer().limit(10) as limit:
            await asyncio.sleep(6)
            with limit.paused():
                await asyncio.sleep(1_000)
            assert round(limit.remaining()) == 4
            limit.restart()
            await asyncio.sleep(9)
            limit.restart()
            await asyncio.sleep(100)

    began = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        await work()
    assert round(asyncio.get_running_loop().time() - began) == 1_025


async def test_whoever_else_cancels_at_the_same_moment_is_not_passed_over() -> None:
    timer, came = Timer(), list[str]()

    async def work() -> None:
        try:
            with timer.limit(5):
                try:
                    await asyncio.sleep(100)
                finally:
                    came.append("ended")
        except TimeoutError:
            came.append("late")

    task = asyncio.create_task(work())
    asyncio.get_running_loop().call_later(5, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert came == ["ended"]


@pytest.mark.parametrize(("outer", "inner", "late"), [(5, 9, "outer"), (9, 5, "inner"), (5, 5, "outer")])
async def test_of_two_the_one_that_has_ended_says_so(outer: float, inner: float, late: str) -> None:
    timer = Timer()
    said = ""
    try:
        with timer.limit(outer):
            try:
                with timer.limit(inner):
                    await asyncio.sleep(100)
            except TimeoutError:
                said = "inner"
            await asyncio.sleep(0)
    except TimeoutError:
        said = "outer"
    task = asyncio.current_task()
    assert task is not None
    assert (said, task.cancelling()) == (late, 0)


def test_a_client_of_another_event_loop_says_what_is_wrong() -> None:
    client = client_for("http://127.0.0.1:9", retry=PATIENT)
    for error, words in ((UnreadableError, "never answered"), (RuntimeError, "belongs to the event loop")):
        with asyncio.Runner(loop_factory=WaitingLoop) as runner, pytest.raises(error, match=words):
            runner.run(client.request("GET", "/a", decode=parse_json))
    with asyncio.Runner(loop_factory=WaitingLoop) as runner:
        runner.run(client.aclose())
        with pytest.raises(UnreadableError):
            runner.run(client.request("GET", "/a", decode=parse_json))
        runner.run(client.aclose())


@pytest.fixture(params=[prepared.TRIED, ("none",)], ids=["prepared", "by the session"])
def releases(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in which a request is sent promise the same."""
    monkeypatch.setattr(prepared, "TRIED", request.param)


@asynccontextmanager
async def pieces(*parts: bytes | float) -> AsyncIterator[str]:
    """A server that answers each request with these bytes, and waits so many seconds between them."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            for part in parts:
                if isinstance(part, bytes):
                    writer.write(part)
                    await writer.drain()
                else:
                    await asyncio.sleep(part)

    async with serving_raw(serve) as url:
        yield url


@asynccontextmanager
async def serving_raw(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server on loopback until the block ends, and what it does for a connection with it."""
    tasks = set[asyncio.Task[None] | None]()

    async def serve_until_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        with suppress(asyncio.CancelledError, ConnectionError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve_until_the_end, "127.0.0.1", 0)
    async with server:
        yield "http://{}:{}".format(*server.sockets[0].getsockname()[:2])
        for task in filter(None, tasks):
            task.cancel()
        await asyncio.gather(*filter(None, tasks))


@pytest.mark.usefixtures("releases")
@pytest.mark.parametrize("before", [(), (HEAD,), (HEAD, b"[1")], ids=["no head", "no body", "half a body"])
async def test_silence_ends_an_attempt(before: tuple[bytes, ...]) -> None:
    async with pieces(*before, 10 * SILENCE, b"]") as url, aclosing(client_for(url, retry=PATIENT)) as client:
        began = asyncio.get_running_loop().time()
        with pytest.raises(UnreadableError, match="last: no answer in time"):
            await client.request("GET", "/a", decode=parse_json)
        assert round(asyncio.get_running_loop().time() - began) == SILENCE


@pytest.mark.usefixtures("releases")
async def test_an_answer_that_comes_slowly_is_no_silence() -> None:
    wait = 0.9 * SILENCE
    parts = (wait, HINTS, wait, HINTS, wait, HEAD, wait, b"[", wait, b"1", wait, b"]")
    async with pieces(*parts) as url, aclosing(client_for(url, retry=PATIENT)) as client:
        assert await client.request("GET", "/a", decode=parse_json) == [1]
        assert client.usage.retries == 0


@pytest.mark.usefixtures("releases")
async def test_an_end_that_comes_later_is_no_piece_of_the_answer() -> None:
    """An empty answer is whole, whatever it says that it is packed in."""
    head = b"HTTP/1.1 401 Unauthorized\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with pieces(head, 0.9 * SILENCE, b"0\r\n\r\n") as url, aclosing(client_for(url)) as client:
        with pytest.raises(CredentialsError, match="refused the key"):
            await client.request("GET", "/a", decode=parse_json)
        assert client.usage.retries == 0


@pytest.mark.usefixtures("releases")
async def test_what_has_come_while_nobody_could_look_is_no_silence() -> None:
    """As after SIGSTOP, or behind a thread that leaves no time."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, WaitingLoop)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (await reader.readline()).strip():
            pass
        writer.write(HEAD + b"[1]")
        loop.jump(1.5 * SILENCE)

    async with serving_raw(serve) as url, aclosing(client_for(url)) as client:
        assert await client.request("GET", "/a", decode=parse_json) == [1]
        assert client.usage.retries == 0


@pytest.mark.usefixtures("releases")
async def test_waiting_for_room_is_no_silence() -> None:
    """The first large answer has all the room, for far longer than a service may say nothing."""
    half = b" " * 1_000_000
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * len(half) + 1)
    bounds = {"max_answer_bytes": 3_000_000, "answers_in_flight_bytes": 3_000_000, "retry": PATIENT}
    wait = 0.9 * SILENCE
    async with pieces(head, half, wait, half, wait, b"1") as url, aclosing(client_for(url, **bounds)) as client:
        asked = (client.request("GET", "/a", decode=parse_json) for _ in range(4))
        assert await asyncio.gather(*asked) == [1] * 4
