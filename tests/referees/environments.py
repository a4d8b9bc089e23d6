"""An environment of its own for every referee: the packages share names, and none belongs beside our own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from vectorferry.connector.sandbox import Sandbox

__all__ = ["referee_answers", "referee_python", "referee_reading"]

_ENVIRONMENTS = Path(__file__).parents[2] / ".venvs"
_SCRIPTS = Path(__file__).parent / "scripts"


def referee_python(package: str, version: str) -> Path:
    """The interpreter of an environment with this package; made once, and made again when it is broken."""
    home = _ENVIRONMENTS / f"referee-{package}-{version}"
    python = home / "bin" / "python"
    if not _works(python, package, version):
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{package}=={version}"]
        subprocess.run([python, *install], check=True)
    return python


def referee_answers(python: Path, script: str, sandbox: Sandbox) -> Any:
    """What a script of the referees prints about a sandbox."""
    command: list[str | Path] = [python, _SCRIPTS / script, sandbox.url, sandbox.api_key, sandbox.control_key]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert asked.returncode == 0, asked.stderr
    return json.loads(asked.stdout)


def referee_reading(python: Path, script: str, values: Any) -> Any:
    """What a script of the referees makes of values."""
    command: list[str | Path] = [python, _SCRIPTS / script]
    asked = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, timeout=120, check=False)
    assert asked.returncode == 0, asked.stderr
    return json.loads(asked.stdout)


def _works(python: Path, package: str, version: str) -> bool:
    asked = f"import {package}, importlib.metadata as m; print(m.version({package!r}))"
    try:
        answer = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return answer.stdout.strip() == version
