"""What it costs to be told how a command is used."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from tests.connector.cli.executable import EXECUTABLE

RUNS = 5


@pytest.mark.benchmark
def test_help_is_quick() -> None:
    command, bare = cpu([EXECUTABLE, "--help"]), cpu([sys.executable, "-c", "import typer.main, rich.console"])
    print(f"\n--help: {command:.2f} s CPU, {command / bare:.1f} times importing typer and rich ({bare:.2f} s)")
    assert command < 3 * bare


def cpu(command: list[str]) -> float:
    """The least of several runs, in seconds of processor time."""
    return min(one_run(command) for _ in range(RUNS))


def one_run(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
