"""A relay in front of a server that counts what a client sends, and stops the client at a given point of it.

How far a load has come is told alike for every client: by the share of its own bytes that have reached the server.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

__all__ = ["Relay"]


class Relay:
    """Listens on loopback until closed. `sent` is what all clients have sent so far, in bytes."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._limit: int | None = None
        self._stop: Callable[[], None] = lambda: None
        self._open: set[socket.socket] = set()
        self.sent = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listening.getsockname()[1])

    def stop_after(self, sent: int, stop: Callable[[], None]) -> None:
        """Call `stop` once, instead of passing on the piece that reaches so many bytes."""
        self._limit, self._stop = sent, stop

    def __enter__(self) -> Relay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.close()
        for each in self._open:
            with suppress(OSError):  # closing alone would leave what a thread still waits for
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open |= {client, server}
                threading.Thread(target=self._pass, args=(client, server, self._count), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, lambda _: True), daemon=True).start()

    def _count(self, piece: bytes) -> bool:
        """Whether the piece may go on."""
        with self._lock:
            self.sent += len(piece)
            if self._limit is None or self.sent < self._limit:
                return True
            stop, self._stop = self._stop, lambda: None
            stop()
            return False

    def _pass(self, origin: socket.socket, target: socket.socket, allowed: Callable[[bytes], bool]) -> None:
        with suppress(OSError):
            while (piece := origin.recv(1 << 16)) and allowed(piece):
                target.sendall(piece)
        for end in (origin, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
