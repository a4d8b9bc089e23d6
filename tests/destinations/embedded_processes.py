"""Other processes that use an embedded Postgres, and the servers that are left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg

from ..forking import Forked, run_to_end

__all__ = ["HOLD", "OPEN", "answers", "held_elsewhere", "moved", "run_python", "servers"]

HOLD = """
import sys, pathlib
from vectorferry import destinations
server = destinations.EmbeddedPostgres(pathlib.Path(sys.argv[1]))
print(server.url, flush=True)
sys.stdin.read()
"""

OPEN = """
import sys, pathlib, psycopg
from vectorferry import destinations
with destinations.EmbeddedPostgres(pathlib.Path(sys.argv[1])) as server, psycopg.connect(server.url) as connection:
    print(connection.execute("SELECT 'answered'").fetchone()[0])
"""


@contextmanager
def moved(directory: Path, name: str) -> Iterator[Path]:
    """The same data under another path."""
    elsewhere = directory.with_name(name)
    directory.rename(elsewhere)
    try:
        yield elsewhere
    finally:
        elsewhere.rename(directory)


def servers(directory: Path) -> list[int]:
    """Process ids of the postmasters of this directory."""
    running = psutil.process_iter(["name", "cmdline", "ppid"])
    named = [process for process in running if process.info["name"] == "postgres"]
    ours = {process.pid: process for process in named if str(directory / "data") in (process.info["cmdline"] or [])}
    # A process that a server has just forked still has the server's command line.
    return [pid for pid, process in ours.items() if process.info["ppid"] not in ours]


def answers(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


def run_python(script: str, *arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return run_to_end(command, env=os.environ | (env or {}))


@contextmanager
def held_elsewhere(directory: Path, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the server until its end: of the context, unless it was killed before."""
    holder = Forked(
        [sys.executable, "-c", HOLD, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | (env or {}),
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline().startswith("postgresql://")
        yield holder
    finally:
        holder.communicate()
