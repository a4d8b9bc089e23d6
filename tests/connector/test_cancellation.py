"""A signal cancels an event loop's main task, and who is cancelled while a call is running waits until it has ended."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from vectorferry.connector._cancellation import (
    CallCancelledError,
    CancellableCall,
    abandonable,
    begin_abandonable,
    pause,
    run_cancellable,
)
from vectorferry.connector._engine._calls import CallThread

from ..waiting import PATIENCE


class StopError(BaseException):
    """As Dagster's: neither an `Exception` nor a `KeyboardInterrupt`."""


def stop(_number: int, _frame: FrameType | None) -> None:
    raise StopError


@pytest.fixture
def stopped_by_sigterm() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


async def in_a_task() -> None:
    signal.raise_signal(signal.SIGTERM)


async def in_a_callback() -> None:
    asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)


@pytest.mark.usefixtures("stopped_by_sigterm")
@pytest.mark.parametrize("where", [in_a_task, in_a_callback])
def test_what_a_signal_s_handler_raises_comes_out_when_everything_is_undone(where: object) -> None:
    undone: list[str] = []

    async def main() -> None:
        task = asyncio.create_task(where())  # type: ignore[operator]
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            undone.append("main")
            raise
        finally:
            await task

    with pytest.raises(StopError):
        run_cancellable(main())
    assert undone == ["main"]
    assert signal.getsignal(signal.SIGTERM) is stop


@pytest.mark.usefixtures("stopped_by_sigterm")
def test_a_failure_on_the_way_out_does_not_hide_that_it_was_stopped() -> None:
    async def main() -> None:
        signal.raise_signal(signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("on the way out")

    with pytest.raises(StopError):
        run_cancellable(main())


@pytest.mark.usefixtures("stopped_by_sigterm")
def test_a_second_signal_is_raised_where_it_comes() -> None:
    async def main() -> None:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(StopError):
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(StopError):
        run_cancellable(main())


def test_a_handler_that_raises_nothing_stops_nothing() -> None:
    heard: list[int] = []

    async def main() -> str:
        signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(0)
        return "done"

    before = signal.signal(signal.SIGTERM, lambda number, _frame: heard.append(number))
    try:
        assert run_cancellable(main()) == "done"
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


async def test_a_cancelled_call_has_ended_when_its_caller_goes_on() -> None:
    started, ended, calls = threading.Event(), threading.Event(), CallThread("store")

    def work() -> None:
        started.set()
        try:
            pause(3_600)
        finally:
            ended.set()

    calling = asyncio.create_task(calls.run(work))
    await asyncio.to_thread(started.wait)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert ended.is_set()
    assert await calls.run(lambda: "the next one is made as if nothing had been") != ""
    calls.close()


async def test_a_call_that_hears_nothing_is_waited_for_however_often_its_caller_is_cancelled() -> None:
    started, go_on, calls = threading.Event(), threading.Event(), CallThread("store")

    def work() -> None:
        started.set()
        go_on.wait()

    calling = asyncio.create_task(calls.run(work))
    await asyncio.to_thread(started.wait)
    for _ in range(3):
        calling.cancel()
        await asyncio.sleep(0)
        assert not calling.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await calling
    calls.close()


async def test_a_call_that_waits_for_its_turn_is_not_begun_any_more() -> None:
    started, calls, made = threading.Event(), CallThread("store"), list[str]()

    def work() -> None:
        started.set()
        pause(3_600)

    first, second = (asyncio.create_task(calls.run(each)) for each in (work, lambda: made.append("second")))
    await asyncio.to_thread(started.wait)
    second.cancel()
    await asyncio.wait([second])
    first.cancel()
    await asyncio.wait([first])
    calls.close()
    assert made == []


def test_what_cannot_be_ended_is_left_behind() -> None:
    started, go_on = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        go_on.wait()

    call = CancellableCall(lambda: abandonable(work))

    def cancel() -> None:
        started.wait()
        call.cancel()

    threading.Thread(target=cancel).start()
    with pytest.raises(CallCancelledError):
        call()
    go_on.set()


def test_what_is_begun_goes_on_beside_this_thread_and_is_left_behind_as_well() -> None:
    started, go_on = threading.Event(), threading.Event()

    def work() -> str:
        started.set()
        go_on.wait()
        return "answer"

    answer = begin_abandonable(work)
    assert started.wait(PATIENCE)
    call = CancellableCall(answer)
    call.cancel()
    with pytest.raises(CallCancelledError):
        call()
    go_on.set()
    assert answer() == "answer"


def test_what_is_made_on_another_thread_fails_as_here() -> None:
    with pytest.raises(TimeoutError, match="of its own"):
        CancellableCall(lambda: abandonable(_timed_out))()


def _timed_out() -> None:
    raise TimeoutError("of its own")
