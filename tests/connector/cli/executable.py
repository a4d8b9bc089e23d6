"""The installed command, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.connector.cli.conftest import SECRET
from tests.forking import Forked, run_to_end

ROOT = Path(__file__).parents[3]
EXECUTABLE = str(Path(sys.executable).with_name("vectorferry"))


def environment(site: Path) -> dict[str, str]:
    """This process's environment, with the plug-ins installed in `site`."""
    return {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}


def run(
    *arguments: str, environ: Mapping[str, str] | None = None, how: Callable[..., subprocess.Popen[str]] = Forked
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. The canary key and control codes must never come out."""
    done = run_to_end([EXECUTABLE, *arguments], env=environ, how=how)
    assert SECRET not in done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    return done
