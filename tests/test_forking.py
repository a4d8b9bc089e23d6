"""Processes that are forked for tests: nothing of them outlives whoever asked for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .waiting import PATIENCE

FORK = 'import sys; from tests.forking import run_to_end; run_to_end([sys.executable, "-c", ""])'


@pytest.mark.long
def test_the_process_that_forks_ends_before_the_one_that_asks() -> None:
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", FORK]
    ended = subprocess.run(
        command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
