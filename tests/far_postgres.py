"""A Postgres that is far away: a proxy in front of it that counts the ways there and back, and makes them take time."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from .postgres_proxy import PostgresProxy, running

_PIECE: Final = 1 << 16
_TLS: Final = (b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30")
"""What asks whether a connection may be encrypted; the answer is one letter."""
_CONNECTS: Final = "(connects)"


class FarPostgres(PostgresProxy):
    """What went over the wire. A trip is one way there and back, for which the client waits: each answer after which
    the server waits for the client again. That is one for each message, however many statements it has, and for each
    pipeline; two for a COPY; and one for each step of making a connection."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.trips: list[str] = []
        """What each of them was for: its statements, as they were sent."""
        self._one_way = seconds / 2

    async def relay(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Count while it passes."""
        self.trips.append(_CONNECTS)  # TCP's own
        await asyncio.sleep(2 * self._one_way)
        wire = _Wire(self.trips)
        sent, answered = (client[0], server[1], wire.client), (server[0], client[1], wire.server)
        await asyncio.gather(self._pass(*sent), self._pass(*answered))

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Callable[[bytes], None]
    ) -> None:
        """Whatever comes goes on when its time has come: a long way is no narrow one."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        async def arrive() -> None:
            while True:
                due, piece = await under_way.get()
                await asyncio.sleep(due - loop.time())
                if not piece:
                    writer.close()
                    return
                writer.write(piece)
                await writer.drain()

        arriving = asyncio.create_task(arrive())
        try:
            while piece := await reader.read(_PIECE):
                note(piece)
                under_way.put_nowait((loop.time() + self._one_way, piece))
        finally:
            under_way.put_nowait((loop.time() + self._one_way, b""))
            await arriving


class _Wire:
    """One connection, read along: https://www.postgresql.org/docs/current/protocol-message-formats.html."""

    def __init__(self, trips: list[str]) -> None:
        self._trips = trips
        self._sent, self._answered = b"", b""
        self._statements: list[str] = []
        self._asked_for_tls = self._has_started = False

    def client(self, piece: bytes) -> None:
        """What the client sends."""
        self._sent += piece
        while not self._has_started and len(self._sent) >= 8:
            size, code = struct.unpack(">I", self._sent[:4])[0], self._sent[4:8]
            self._asked_for_tls, self._has_started = code in _TLS, code not in _TLS
            self._statements.append(_CONNECTS)
            self._sent = self._sent[size:]
        for kind, content in self._messages("_sent") if self._has_started else ():
            if kind == b"Q":
                self._statements.append(content[:-1].decode(errors="replace"))
            elif kind == b"P":
                self._statements.append(content.split(b"\0", 2)[1].decode(errors="replace"))
            elif kind == b"p":
                self._statements.append(_CONNECTS)

    def server(self, piece: bytes) -> None:
        """What the server answers."""
        self._answered += piece
        if self._asked_for_tls:
            self._asked_for_tls, self._answered = False, self._answered[1:]
            self._count()
        for kind, content in self._messages("_answered"):
            # It is ready for the next query or for rows, or asks for a password; 12 is a farewell.
            if kind in b"ZG" or (kind == b"R" and content[:4] not in (bytes(4), bytes((0, 0, 0, 12)))):
                self._count()

    def _count(self) -> None:
        self._trips.append(";\n".join(self._statements))
        self._statements = []

    def _messages(self, name: str) -> Iterator[tuple[bytes, bytes]]:
        """Those that are there whole."""
        data: bytes = getattr(self, name)
        while len(data) >= 5 and len(data) > (size := struct.unpack(">I", data[1:5])[0]):
            yield data[:1], data[5 : size + 1]
            data = data[size + 1 :]
        setattr(self, name, data)


@contextmanager
def far_postgres(url: str, seconds: float = 0) -> Iterator[tuple[FarPostgres, str]]:
    """The proxy, in a thread, and the address of the same database behind it: so many seconds there and back."""
    with running(FarPostgres(seconds), url) as far:
        yield far
