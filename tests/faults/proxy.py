"""A TCP proxy in front of a Postgres that listens on a socket. It can be told when to let nothing through any more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import Final

from sqlalchemy.engine import make_url

from ..waiting import PATIENCE

__all__ = ["Cut", "Proxy", "running_proxy"]

CHUNK: Final = 2_000
"""Bytes that are passed on at a time: a batch's COPY is many of them."""


@dataclass(frozen=True)
class Cut:
    """When and how connections are cut: all of them at once, like by a network that is gone.

    Attributes:
        at: what a client sends just before.
        after: pieces that still pass, once that was sent; what is sent for it goes with the first one.
        arrives: whether the server gets the last piece, the answer to which is lost.
        frozen: seconds that nothing gets through before.
        times: how often it happens.
        for_good: whether nothing gets through afterwards either. To the server, that is a client that was killed.
    """

    at: bytes
    after: int = 0
    arrives: bool = False
    frozen: float = 0
    times: int = 1
    for_good: bool = False


class Proxy:
    """Passes everything on, until `cut` says otherwise."""

    def __init__(self, socket: str) -> None:
        self.port = 0
        self.cut: Cut | None = None
        self.cuts = 0
        self._socket = socket
        self._writers: set[asyncio.StreamWriter] = set()
        self._left: int | None = None
        self._thawed = asyncio.Event()
        self._thawed.set()

    async def serve(self, started: Callable[[], object]) -> None:
        """Listen on loopback until cancelled."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started()
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            self._abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(self._socket)
        self._writers |= {writer, up_writer}
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(self._pass(reader, up_writer, self._sent), self._pass(up_reader, writer, self._told))
        self._writers -= {writer, up_writer}

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, may_pass: Callable[[bytes], bool]
    ) -> None:
        while piece := await reader.read(CHUNK):
            await self._thawed.wait()
            goes_on = may_pass(piece)
            if goes_on or (self.cut and self.cut.arrives):
                writer.write(piece)
                await writer.drain()
            if not goes_on:
                await self._break()
        writer.close()

    def _told(self, _piece: bytes) -> bool:
        return True

    def _sent(self, piece: bytes) -> bool:
        """Whether the connection outlives this piece."""
        if self.cut is None or (self.cuts >= self.cut.times and not self.cut.for_good):
            return True
        if self.cuts and self.cut.for_good:
            return False
        if self._left is None and self.cut.at in piece:
            self._left = self.cut.after
        elif self._left is not None:
            self._left -= 1
        return self._left is None or self._left > 0

    async def _break(self) -> None:
        assert self.cut is not None
        self.cuts += 1
        self._left = None
        self._thawed.clear()
        await asyncio.sleep(self.cut.frozen)
        self._abort()
        self._thawed.set()

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@contextmanager
def running_proxy(url: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy in a thread, and the address of the same database behind it."""
    address = make_url(url)
    proxy = Proxy(f"{address.query['host']}/.s.PGSQL.{address.port or 5432}")
    ready: Future[Callable[[], object]] = Future()
    thread = Thread(target=asyncio.run, args=(_until_stopped(proxy, ready),), name="proxy", daemon=True)
    thread.start()
    stop = ready.result(PATIENCE)
    proxied = address.set(host="127.0.0.1", port=proxy.port, query={})
    try:
        yield proxy, proxied.render_as_string(hide_password=False)
    finally:
        stop()
        thread.join()


async def _until_stopped(proxy: Proxy, ready: Future[Callable[[], object]]) -> None:
    task = asyncio.current_task()
    assert task is not None
    stop = partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await proxy.serve(lambda: ready.set_result(stop))
