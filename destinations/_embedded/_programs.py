"""The wheel's programs, run without a shell: `pg_ctl` would put the paths it is given into one."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

import psutil

from vectorferry.connector import check_cancelled

from ._account import Account
from ._address import PORT
from ._wheel import wheel_utilities

__all__ = ["has_no_room", "initialise", "last_words", "postmaster", "start"]

_KEPT: Final = ("LD_LIBRARY_PATH", "PATH", "TZ")
"""Of our environment. The rest holds keys, PG* variables, and locales that this machine may not have."""

_FRESH: Final = (
    *("--username=postgres", "--auth=trust", "--encoding=UTF8"),
    *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),  # the same on every machine
)
_SETTINGS: Final = (
    *("-c", "listen_addresses=", "-c", f"port={PORT}"),
    *("-c", "unix_socket_directories=.", "-c", "unix_socket_permissions=0700"),  # relative to the data
)
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LONGEST_PID: Final = 20
_GLANCE_SECONDS: Final = 0.1
_OUTPUT_TAIL_BYTES: Final = 8192
_ERROR: Final = re.compile(r"(?:FATAL|PANIC|error): +(?!the database system is starting up)(.+)")


def initialise(data: Path, account: Account, lock: int) -> None:
    """Make a database cluster in an empty directory. Raises `RuntimeError` with initdb's own words."""
    with subprocess.Popen(
        [_binary("initdb", account), *_FRESH, "-D", data],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        **_detached(account, lock),
    ) as process:
        errors = _errors_of(process)
    if process.returncode != 0:
        raise RuntimeError(last_words(errors) or f"initdb ended with {process.returncode}")


def start(data: Path, account: Account, log: IO[bytes], lock: int) -> None:
    """Start a server that keeps this lock until the last of its processes is gone."""
    process = subprocess.Popen(
        [_binary("postgres", account), "-D", data, *_SETTINGS],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        **_detached(account, lock),
    )
    # Whenever it ends, and whoever stopped it, it must not stay as a zombie.
    threading.Thread(target=process.wait, name="embedded-postgres", daemon=True).start()


def postmaster(data: Path) -> psutil.Process | None:
    """The server that the data's pid file names, unless that number now belongs to something else."""
    try:
        with (data / "postmaster.pid").open("rb") as file:
            process = psutil.Process(int(file.readline(_LONGEST_PID)))
        return process if str(data) in process.cmdline() and process.name() == "postgres" else None
    except (OSError, ValueError, OverflowError, psutil.Error):
        return None


def last_words(output: bytes) -> str:
    """The last error that a program of Postgres reported, or nothing. Of several in a row, a full disk is the cause of
    the others."""
    said = [str(each) for each in _ERROR.findall(output[-_OUTPUT_TAIL_BYTES:].decode(errors="replace"))]
    return next((each for each in said[-3:] if has_no_room(each)), said[-1] if said else "")


def has_no_room(words: str) -> bool:
    """Whether a disk, a quota or a limit of files is what somebody complains of."""
    return any(os.strerror(number) in words for number in _NO_ROOM)


def _errors_of(process: subprocess.Popen[bytes]) -> bytes:
    """Everything that a program writes to stderr until it ends, or is ended because the call is cancelled."""
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.communicate(timeout=_GLANCE_SECONDS)[1]
            check_cancelled()
    except BaseException:
        process.kill()
        raise


def _binary(name: str, account: Account) -> Path:
    wheel = wheel_utilities()
    binary: Path = wheel.POSTGRES_VERSIONS[wheel.TARGET_POSTGRES_VERSION] / name
    account.let_through_to(binary)
    return binary


def _detached(account: Account, lock: int) -> dict[str, Any]:
    """Keeping the lock and nothing else of ours."""
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | {"LC_ALL": "C"}
    return {"env": environment, "cwd": "/", "start_new_session": True, "pass_fds": (lock,)} | account.of_process
