"""Real `vectorferry sync` processes, to be killed and to be run again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg
import yaml

from ..forking import Forked
from ..waiting import PATIENCE

__all__ = ["SyncEndedError", "finish", "kill", "someone_waits", "start", "wait_for"]

_EXECUTABLE = str(Path(sys.executable).with_name("vectorferry"))


class SyncEndedError(Exception):
    """There is nothing to kill any more."""


def start(
    directory: Path, settings: Mapping[str, Any], *arguments: str, how: Callable[..., subprocess.Popen[str]] = Forked
) -> subprocess.Popen[str]:
    """One `vectorferry sync` with these settings and arguments."""
    config = directory / "vectorferry.yaml"
    config.write_text(yaml.safe_dump(settings))
    command = [_EXECUTABLE, "sync", "-c", str(config), "--json", *arguments]
    return how(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], exit_code: int = 0) -> dict[str, Any]:
    """Wait for a sync that must succeed (or end with this code); its summary."""
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == exit_code, err
    summary: dict[str, Any] = json.loads(out)
    return summary


def wait_for(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Return as soon as the condition is true of a sync that is still running; raise `SyncEndedError` if it is not."""
    while not condition():
        if process.poll() is not None:
            raise SyncEndedError("the sync ended before it could be killed")


def someone_waits(connection: psycopg.Connection[Any], table: str) -> bool:
    """Whether a statement is held up by a lock on this table."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
    return connection.execute(waiting, [table]).fetchone() != (0,)


def kill(process: subprocess.Popen[str]) -> None:
    """End a sync without giving it a chance to do anything about it."""
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
