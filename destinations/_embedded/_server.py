"""The one server of a directory: it runs as long as somebody uses it, which locks tell that the kernel takes back."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final

import psutil
from psycopg import pq

from vectorferry.connector.plugin import DestinationError, SecurityFinding, pause
from vectorferry.destinations._embedded._place import (
    check_data,
    check_directory,
    check_link,
    check_own,
    place_for_data,
    reachable,
    reachable_programs,
    user_name,
)
from vectorferry.destinations._embedded._programs import (
    PORT,
    Account,
    address,
    has_no_room,
    initialise,
    last_words,
    postmaster,
    server_account,
    start,
    wheel_programs,
)

if sys.platform != "win32":
    import fcntl


_GLANCE_SECONDS: Final = 0.01


class FileLock:
    """A lock on a file, made when missing, shared by many or held by one.

    flock(2) and not POSIX record locks, which lock libraries mostly use: it belongs to the opened file instead of the
    process. Two holders in one process exclude each other, and a child that inherits the file keeps the lock.

    Raises:
        OSError: the file cannot be made or opened, or its file system has no locks.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def fileno(self) -> int:
        """For a child process to inherit."""
        return self._descriptor

    def share(self) -> None:
        """Hold it together with others, after waiting for whoever holds it alone.

        Asks again and again, because the kernel's own waiting cannot be cancelled.
        """
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return
            pause(_GLANCE_SECONDS)

    def try_alone(self) -> bool:
        """Hold it alone if nobody else holds it. If somebody does, a share in it is lost as well."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Give it up, also in the name of children that inherited it, and close the file."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self.close()

    def close(self) -> None:
        """Close the file; children that inherited it keep the lock."""
        os.close(self._descriptor)


# The one server of a directory: running as long as somebody uses it.


_STARTING_SECONDS: Final = 300
"""Recovery after a crash may take minutes."""

_STOPPING_SECONDS: Final = 60

_PATIENT_SECONDS = 15.0
"""PostgreSQL 18 never ends when it is asked to while it recovers from a crash, such as that of a full disk."""

_SECONDS_TO_UNDO_A_START: Final = 0.5
"""Nobody has written anything to a server that never answered, so that ending it at once costs nothing."""

_LEFT_BEHIND: Final = ("postmaster.pid", f".s.PGSQL.{PORT}.lock")
"""Half-written, or with a number that is another process's by now, they keep Postgres from starting."""


class Server:
    """In its directory lie `data`, `log` with `log.before`, and `server.lock`, which the server itself holds."""

    def __init__(self, directory: Path) -> None:
        self._link = directory / "data"
        self._log = directory / "log"
        self._lock = directory / "server.lock"
        self._has_answered = False

    @property
    def data(self) -> Path:
        """Where the data is: in the directory, or where a link there points."""
        return self._link.parent / self._link.readlink() if self._link.is_symlink() else self._link

    def ensure_running(self, url: str) -> None:
        """Return when the server answers at this address; start it unless somebody else does.

        Raises:
            RuntimeError: it ended, or did not answer in time.
            OSError: a file or a program cannot be used.
        """
        deadline = time.monotonic() + _STARTING_SECONDS
        started = False
        while not _answers(url):
            with self._stopped() as lock:
                if lock is not None and started:
                    raise RuntimeError(self.last_words() or "the server ended right away")
                if lock is not None:
                    self._start(lock)
                    started = True
            if time.monotonic() > deadline:
                raise RuntimeError(f"it did not answer within {_STARTING_SECONDS} seconds")
            pause(_GLANCE_SECONDS)
        self._has_answered = True

    def last_words(self) -> str:
        """The last error in the log, or nothing."""
        try:
            return last_words(self._log.read_bytes())
        except OSError:
            return ""

    def stop(self) -> None:
        """Ask the server to end, and wait until all its processes have."""
        asked, patience = time.monotonic(), _PATIENT_SECONDS if self._has_answered else _SECONDS_TO_UNDO_A_START
        while self._runs() and (waited := time.monotonic() - asked) < _STOPPING_SECONDS:
            if (process := postmaster(self.data)) is not None:
                with suppress(psutil.Error):
                    # A fast shutdown, which asking again does not change; then one after which the next start recovers.
                    process.send_signal(signal.SIGINT if waited < patience else signal.SIGQUIT)
            time.sleep(_GLANCE_SECONDS)

    def _runs(self) -> bool:
        try:
            with self._stopped() as lock:
                return lock is None
        except FileNotFoundError:  # the directory was removed; a server whose data has gone with it ends by itself
            return postmaster(self.data) is not None

    @contextmanager
    def _stopped(self) -> Iterator[FileLock | None]:
        """The server's lock while there is no server, else None."""
        with closing(FileLock(self._lock)) as lock:
            yield lock if lock.try_alone() else None

    def _start(self, lock: FileLock) -> None:
        account = server_account()
        programs = reachable_programs(wheel_programs(), account)
        check_link(self._link)
        if not self.data.exists():
            self._make_data(programs, account, lock)
        check_data(self.data, account)
        if not reachable(self.data, account):
            raise RuntimeError(f"the user {user_name(account)}, who runs root's server, may not pass to {self.data}")
        if postmaster(self.data) is None:
            for name in _LEFT_BEHIND:
                (self.data / name).unlink(missing_ok=True)
        with self._new_log() as log:
            start(programs, self.data, account, log, lock.fileno())

    def _make_data(self, programs: Path, account: Account, lock: FileLock) -> None:
        """Under another name until it is whole: whoever is killed meanwhile leaves nothing that looks like data."""
        data = place_for_data(self._link, account)
        fresh = data.with_name(f"{data.name}.new")
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        account.own(fresh)
        initialise(programs, fresh, account, lock.fileno())
        fresh.rename(data)

    def _new_log(self) -> IO[bytes]:
        """One per start, next to the one before, so that they don't grow forever."""
        with suppress(FileNotFoundError):
            self._log.replace(self._log.with_name("log.before"))
        return open(self._log, "xb", opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _answers(url: str) -> bool:
    return pq.PGconn.ping(f"{url}&connect_timeout=2".encode()) == pq.Ping.OK


# One user's hold on the server. Users are counted by locks, which the kernel lets go when they die.


_ROOM: Final = "100 MB"
"""An empty one takes 40 MB, and its log grows by 16 MB at a time."""

_USERS: Final = "users.lock"
"""Shared by every user of the server. Whoever can hold it alone is the last one."""


class EmbeddedPostgres:
    """A directory with a running Postgres. Several processes, and several users in one process, may share it.

    It listens on a socket that only the user who made the directory, and root, can reach. As root, the server runs as
    a user `pgserver`; where that user may not pass, the data and a copy of the programs are below
    ``/var/lib/vectorferry``, and the directory has a link to the data. Nobody's directories get other rights.

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
            self._url = address(self._directory / "data", user_name(server_account()), undo)
            server.ensure_running(self._url)
            self._hold = undo.pop_all()
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
            self._hold.close()

    def __enter__(self) -> EmbeddedPostgres:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def exposure(directory: Path) -> list[SecurityFinding]:
    """What others may do on the way to the embedded Postgres of this directory, and with its files. Starts nothing."""
    return [*check_directory(directory.expanduser(), server_account())]


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
    directory = directory.expanduser()
    check_own(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
        if os.geteuid() == 0:
            directory.chmod(0o711)  # for the user who runs root's server; the data in it is that user's own
    check_own(directory)  # what was missing a moment ago somebody else may have made
    directory = directory.resolve()
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
