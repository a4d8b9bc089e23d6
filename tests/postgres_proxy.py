"""A TCP proxy in front of a Postgres that listens on a socket: what those in between have in common."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from threading import Thread
from typing import TypeVar

from sqlalchemy.engine import make_url

from .waiting import PATIENCE

ProxyT = TypeVar("ProxyT", bound="PostgresProxy")


class PostgresProxy:
    """Listens, and gives each connection with its own one to the server to `relay`."""

    def __init__(self) -> None:
        self.port = 0
        self.socket = ""
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, started: Callable[[], object]) -> None:
        """Listen on loopback until cancelled."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started()
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            self.abort()

    async def relay(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Pass on what comes on one connection, both ways, until it ends."""
        raise NotImplementedError

    def abort(self) -> None:
        """Cut every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(self.socket)
        writers = {writer, up_writer}
        self._writers |= writers
        with contextlib.suppress(ConnectionError):
            await self.relay((reader, writer), (up_reader, up_writer))
        self._writers -= writers


@contextmanager
def running(proxy: ProxyT, url: str) -> Iterator[tuple[ProxyT, str]]:
    """The proxy, in a thread, and the address of the same database behind it."""
    address = make_url(url)
    proxy.socket = f"{address.query['host']}/.s.PGSQL.{address.port or 5432}"
    ready: Future[Callable[[], object]] = Future()
    thread = Thread(target=asyncio.run, args=(_until_stopped(proxy, ready),), name="proxy", daemon=True)
    thread.start()
    stop = ready.result(PATIENCE)
    behind = address.set(host="127.0.0.1", port=proxy.port, query={})
    try:
        yield proxy, behind.render_as_string(hide_password=False)
    finally:
        stop()
        thread.join()


async def _until_stopped(proxy: PostgresProxy, ready: Future[Callable[[], object]]) -> None:
    task = asyncio.current_task()
    assert task is not None
    stop = partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await proxy.serve(lambda: ready.set_result(stop))
