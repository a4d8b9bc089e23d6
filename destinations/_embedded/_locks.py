"""Locks that the kernel takes back when their holder dies, so that none goes stale."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from vectorferry.connector import pause

if sys.platform != "win32":
    import fcntl

__all__ = ["FileLock"]

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
