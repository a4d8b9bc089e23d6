"""An environment of its own for every referee: the packages share names, and none belongs beside our own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["referee_python"]

_ENVIRONMENTS = Path(__file__).parents[2] / ".venvs"


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


def _works(python: Path, package: str, version: str) -> bool:
    asked = f"import {package}, importlib.metadata as m; print(m.version({package!r}))"
    try:
        answer = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return answer.stdout.strip() == version
