"""One user's hold on the embedded server. Users are counted by locks, which the kernel lets go when they die."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final

from vectorferry.connector.plugin import DestinationError
from vectorferry.destinations._embedded._programs import address, has_no_room
from vectorferry.destinations._embedded._server import FileLock, Server

_ROOM: Final = "100 MB"
"""An empty one takes 40 MB, and its log grows by 16 MB at a time."""

_USERS: Final = "users.lock"
"""Shared by every user of the server. Whoever can hold it alone is the last one."""


class EmbeddedPostgres:
    """A directory with a running Postgres. Several processes, and several users in one process, may share it.

    It listens on a socket that only the user who made the directory, and root, can reach. As root, the server runs
    as a user `pgserver`, who is let through (not into) the directories above.

    Args:
        directory: made, with its parents, when missing; must be empty or an embedded Postgres's.

    Raises:
        DestinationError: the server could not be started.
    """

    def __init__(self, directory: Path) -> None:
        self._opener = os.getpid()
        with _explained(directory), ExitStack() as undo:
            self._directory = _prepared(directory)
            server = self._server = Server(self._directory)
            users = FileLock(self._directory / _USERS)
            # Callbacks, not generators: the end of a forked child would run a generator's last part.
            undo.callback(_let_go, users, server)
            users.share()
            self._url = address(server.data, undo)
            server.ensure_running(self._url)
            self._held = undo.pop_all()
        atexit.register(self.close)

    @property
    def url(self) -> str:
        """A connection address for the database, over a Unix socket; valid until this user closes."""
        return self._url

    def last_words(self) -> str:
        """The last error that the server wrote down."""
        return self._server.last_words()

    @property
    def directory(self) -> Path:
        """Where the data is."""
        return self._directory

    def close(self) -> None:
        """Let go of the server; it stops when nobody else holds it. Doing so again changes nothing."""
        if os.getpid() == self._opener:  # a forked child has a copy of the hold, but it is not its to give up
            atexit.unregister(self.close)
            self._held.close()

    def __enter__(self) -> EmbeddedPostgres:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _let_go(users: FileLock, server: Server) -> None:
    """Stop the server when this was the last hold on it. Newcomers wait until it has stopped."""
    try:
        if users.try_alone():
            server.stop()
    finally:
        users.release()


def _prepared(directory: Path) -> Path:
    if sys.platform == "win32":
        raise DestinationError("the embedded Postgres needs Linux or macOS; set `url` to a Postgres of your own")
    directory = directory.expanduser().resolve()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    names = os.listdir(directory)
    if names and _USERS not in names and not (directory / "data" / "PG_VERSION").exists():
        raise DestinationError(
            f"{directory} holds other files, so no embedded Postgres was made there.\n"
            "Set `directory` to a new or empty directory."
        )
    return directory


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Everything that can go wrong, in two lines."""
    try:
        yield
    except (ImportError, OSError, RuntimeError, ValueError, subprocess.CalledProcessError) as error:
        reason = _reason(error)
        advice = f"Look into {directory / 'log'}, choose another `directory`, or set `url` to a Postgres of your own."
        if has_no_room(reason):
            advice = f"The disk is full. Free {_ROOM} or more, or choose another `directory`, and run again."
        raise DestinationError(f"the embedded Postgres in {directory} did not start: {reason}\n{advice}") from error


def _reason(error: Exception) -> str:
    said = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) and error.stderr else str(error)
    return said or type(error).__name__
