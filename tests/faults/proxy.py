"""A TCP proxy in front of a Postgres that listens on a socket. It can be told when to let nothing through any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from ..postgres_proxy import PostgresProxy, running

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


class Proxy(PostgresProxy):
    """Passes everything on, until `cut` says otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.cut: Cut | None = None
        self.cuts = 0
        self._left: int | None = None
        self._thawed = asyncio.Event()
        self._thawed.set()

    async def relay(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Pass on what may pass."""
        sent, told = (client[0], server[1], self._sent), (server[0], client[1], self._told)
        await asyncio.gather(self._pass(*sent), self._pass(*told))

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
        self.abort()
        self._thawed.set()


@contextmanager
def running_proxy(url: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy in a thread, and the address of the same database behind it."""
    with running(Proxy(), url) as proxy:
        yield proxy
