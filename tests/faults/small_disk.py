"""A file system that can be filled, for a Postgres of its own; and a Postgres whose files may not grow."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

__all__ = ["SmallDisk", "end_of_log_near", "files_no_larger_than", "log_offset", "mounted"]

MEGABYTES: Final = 120
SEGMENT: Final = 16 * 1024 * 1024

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class SmallDisk:
    """Mounted at `path`."""

    path: Path

    def fill(self, free: int = 0) -> None:
        """Leave so many bytes."""
        state = os.statvfs(self.path)
        with (self.path / "ballast").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(state.f_bavail * state.f_frsize - free, 1))

    def grow(self, megabytes: int) -> None:
        """Make it this large."""
        subprocess.run(["mount", "-o", f"remount,size={megabytes}m", self.path], check=True)

    def free(self) -> None:
        """Give the space back."""
        (self.path / "ballast").unlink(missing_ok=True)


@contextmanager
def mounted(path: Path, megabytes: int = MEGABYTES) -> Iterator[SmallDisk]:
    """A small file system in memory. Skips where this user may mount none, as root may."""
    path.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "small"]
    done = subprocess.run(["mount", *options, path], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here, which needs root: {done.stderr.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """A limit for the processes that are started meanwhile, which needs nobody's permission; Python ignores SIGXFSZ."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def log_offset(connection: Connection) -> int:
    """How far into its current file of 16 MiB the write-ahead log is."""
    found = connection.execute("SELECT file_offset FROM pg_walfile_name_offset(pg_current_wal_insert_lsn())").fetchone()
    assert found is not None
    offset: int = found[0]
    return offset


def end_of_log_near(connection: Connection, left: int) -> None:
    """Write to the log until so many bytes are left in its file, and let it have no other one."""
    for statement in ("ALTER SYSTEM SET wal_recycle = off", "SELECT pg_reload_conf()", "CHECKPOINT"):
        connection.execute(statement)
    while _has_another_file(connection):
        connection.execute("SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()")
    while (rest := SEGMENT - log_offset(connection)) > left:
        connection.execute("SELECT pg_logical_emit_message(false, '', repeat('x', %s))", [min(rest - left, 1 << 20)])


def _has_another_file(connection: Connection) -> bool:
    """Postgres keeps files for later, and makes the next one when it saves its state in the last quarter of one."""
    later = (
        "SELECT 1 FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' AND name > pg_walfile_name(pg_current_wal_lsn())"
    )
    return connection.execute(later).fetchone() is not None
