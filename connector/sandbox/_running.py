"""A sandbox with an event loop of its own: in a background thread, or in the foreground for the command line."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from threading import Thread

from vectorferry.connector.sandbox._sandbox import Sandbox
from vectorferry.connector.sandbox._settings import SandboxSettings

__all__ = ["running_sandbox", "serve"]


@contextlib.contextmanager
def running_sandbox(
    settings: SandboxSettings | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> Iterator[Sandbox]:
    """A sandbox that answers from a daemon thread until the block ends; it leaves nothing behind.

    Raises `ConfigurationError` when the port is taken.
    """
    sandbox = Sandbox(settings, host=host, port=port)
    started: Future[Callable[[], object]] = Future()
    thread = Thread(target=_run_in_thread, args=(sandbox, started), name="sandbox", daemon=True)
    thread.start()
    stop = started.result()
    try:
        yield sandbox
    finally:
        stop()
        thread.join()


def serve(
    settings: SandboxSettings | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    on_ready: Callable[[Sandbox], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM. `on_ready` is called once, when the sandbox listens.

    Raises `ConfigurationError` when the port is taken. Call it from the main thread.
    """
    asyncio.run(_serve(Sandbox(settings, host=host, port=port), on_ready))


async def _serve(sandbox: Sandbox, on_ready: Callable[[Sandbox], None] | None) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with sandbox:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        if on_ready is not None:
            on_ready(sandbox)
        await stopped.wait()


def _run_in_thread(sandbox: Sandbox, started: Future[Callable[[], object]]) -> None:
    async def run() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with sandbox:
            started.set_result(partial(loop.call_soon_threadsafe, stopped.set))
            await stopped.wait()

    try:
        asyncio.run(run())
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)
