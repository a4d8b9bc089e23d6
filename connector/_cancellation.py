"""Ending what is under way: an event loop when a signal comes, a blocking call in a thread when nobody waits for it.

Python runs a signal's handler in the main thread, at whatever instruction that is at. What the handler raises would
come out of the event loop's own code or of any task, where it can be lost; and a thread hears of it only by asking.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")
GLANCE_SECONDS: Final = 0.1
STOP_SIGNALS: Final = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class CallCancelledError(BaseException):
    """Nobody waits for the answer of this call any more. No `Exception`: nothing should take it for a failure."""


class CancellableCall(Generic[T]):
    """A blocking call that another thread may cancel; what it calls finds out by `check_cancelled` or `pause`."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._cancelled = threading.Event()
        self._stop: Callable[[], object] | None = None

    def __call__(self) -> T:
        """Make the call. Raises `CallCancelledError` when it ended because it was cancelled."""
        _running.call = self
        try:
            check_cancelled()
            return self._work()
        finally:
            _running.call = None

    def cancel(self) -> None:
        """Ask it to end. Safe from any thread."""
        self._cancelled.set()
        if (stop := self._stop) is not None:
            stop()

    @contextmanager
    def stopped_by(self, stop: Callable[[], object]) -> Iterator[None]:
        """Have `stop` called, on whatever thread, if the call is cancelled before the block ends."""
        self._stop = stop
        try:
            if self._cancelled.is_set():
                stop()
            yield
        finally:
            self._stop = None

    def cancelled_within(self, seconds: float) -> bool:
        """Whether it has been cancelled, after waiting so long for that."""
        return self._cancelled.wait(seconds)


class _Running(threading.local):
    call: CancellableCall[Any] | None = None


_running = _Running()


def is_cancelled() -> bool:
    """Whether the call that this thread is making has been cancelled."""
    return _running.call is not None and _running.call.cancelled_within(0)


def check_cancelled() -> None:
    """Raise `CallCancelledError` when the call that this thread is making has been cancelled."""
    if is_cancelled():
        raise CallCancelledError


def pause(seconds: float) -> None:
    """Sleep; raise `CallCancelledError` as soon as the call that this thread is making is cancelled."""
    if _running.call is None:
        time.sleep(seconds)
    elif _running.call.cancelled_within(seconds):
        raise CallCancelledError


def abandonable(work: Callable[[], T]) -> T:
    """The answer of a blocking call that nothing can end, and that does no harm when it goes on by itself.

    It is made on a thread of its own, which is left behind when the call that this thread is making is cancelled.
    """
    return work() if _running.call is None else begin_abandonable(work)()


def begin_abandonable(work: Callable[[], T]) -> Callable[[], T]:
    """Begin such a call, while this thread does something else; what waits for its answer, as `abandonable` does."""
    answer: Future[T] = Future()

    def call() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:
            answer.set_exception(error)

    def wait_for_answer() -> T:
        while wait([answer], timeout=GLANCE_SECONDS).not_done:
            check_cancelled()
        return answer.result()

    threading.Thread(target=call, name="abandonable", daemon=True).start()
    return wait_for_answer


async def call_in_thread(work: Callable[[], T]) -> T:
    """The answer of a blocking call, made on a thread of its own. It has ended when this is left, also by a cancel."""
    call = CancellableCall(work)
    with ThreadPoolExecutor(1, "call") as pool:
        answer = asyncio.wrap_future(pool.submit(call))
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            call.cancel()
            await asyncio.wait([answer])
            if not answer.cancelled():
                answer.exception()  # else asyncio would complain that nobody has seen it
            raise


def run_cancellable(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, but a signal whose handler raises cancels `main`, and is raised when everything has ended.

    So `main` can undo what it has begun, whether it is the command line, Dagster or a notebook that handles the signal.
    A second signal is raised where it comes. Outside of the main thread, which alone gets signals, `main` is cancelled
    with the call that the thread is making.
    Where this thread's loop is running, as in a notebook, `main` has a thread of its own, which this one waits for.
    """
    if _has_running_loop():
        return _run_beside(main)
    interrupt = _Interrupt()

    async def begin() -> T:
        try:
            with interrupt.cancelling(asyncio.current_task()):
                if is_cancelled():
                    raise asyncio.CancelledError
                return await main
        finally:
            main.close()

    if threading.current_thread() is threading.main_thread():
        with interrupt.kept():
            return asyncio.run(begin())
    if _running.call is None:
        return asyncio.run(main)
    with _running.call.stopped_by(interrupt.come):
        return asyncio.run(begin())


def _has_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run_beside(main: Coroutine[Any, Any, T]) -> T:
    # The handler of a loop that runs in `asyncio.run` raises nothing: it cancels the task that is waiting here.
    interrupt = _Interrupt(whatever_handlers_raise=True)

    async def begin() -> T:
        with interrupt.cancelling(asyncio.current_task()):
            return await main

    with ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            stack.enter_context(interrupt.kept())
        pool = stack.enter_context(ThreadPoolExecutor(1, "beside"))
        outcome = pool.submit(asyncio.run, begin())
        # A signal that comes just before a thread begins to wait is seen to only when it has waited.
        while wait([outcome], timeout=GLANCE_SECONDS).not_done:
            pass
        return outcome.result()


class _Interrupt:
    """What the first signal's handler has raised."""

    def __init__(self, *, whatever_handlers_raise: bool = False) -> None:
        self._whatever_handlers_raise = whatever_handlers_raise
        self._raised: BaseException | None = None
        self._cancel: Callable[[], object] = lambda: None

    def come(self) -> None:
        """Act as if a signal had come, whose handler raises nothing."""
        self._cancel()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep what the handlers of signals raise until the block ends, and raise it then in place of anything else."""
        before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        try:
            for number, handler in before.items():
                if callable(handler):
                    signal.signal(number, self._handler(handler))
            yield
        finally:
            for number, handler in before.items():
                if callable(handler):
                    signal.signal(number, handler)
            if self._raised is not None:
                raise self._raised from None

    @contextmanager
    def cancelling(self, task: asyncio.Task[Any] | None) -> Iterator[None]:
        """Cancel this task, which is the running one, when a signal comes."""
        if self._raised is not None:
            raise asyncio.CancelledError
        if task is not None:
            loop = task.get_loop()
            self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        try:
            yield
        finally:
            self._cancel = lambda: None

    def _handler(self, handler: Callable[[int, FrameType | None], Any]) -> Callable[[int, FrameType | None], None]:
        def keep(number: int, frame: FrameType | None) -> None:
            try:
                handler(number, frame)
            except BaseException as raised:
                if self._raised is not None:
                    raise
                self._raised = raised
                self._cancel()
            else:
                if self._whatever_handlers_raise:
                    self._cancel()

        return keep
