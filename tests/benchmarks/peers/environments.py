"""An environment for each peer, under one folder that can be deleted: nothing of theirs belongs beside our own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from .catalogue import Peer

__all__ = ["FOLDER", "NotToBeHadError", "python_of", "versions_of"]

FOLDER: Final = Path(__file__).parents[3] / ".venvs" / "peers"


class NotToBeHadError(Exception):
    """A peer that cannot be installed here; the message has pip's own last words."""


def python_of(name: str, peer: Peer) -> Path:
    """The interpreter that runs it; its environment is made once. Raises `NotToBeHadError`."""
    if not peer.packages:
        return Path(sys.executable)
    home = FOLDER / name
    done = home / "packages"
    if not done.exists() or done.read_text().split() != [*peer.packages]:
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "numpy>=1.24", *peer.packages]
        installed = subprocess.run([home / "bin" / "python", *install], check=False, capture_output=True, text=True)
        if installed.returncode != 0:
            raise NotToBeHadError(installed.stderr.strip().splitlines()[-1])
        done.write_text("\n".join(peer.packages))
    return home / "bin" / "python"


def versions_of(python: Path, peer: Peer) -> str:
    """The peer's own package, with its version."""
    name = peer.packages[0].partition("==")[0].partition("[")[0] if peer.packages else "vectorferry"
    command: list[str | Path] = [
        python,
        "-c",
        "import sys; from importlib.metadata import version; print(version(sys.argv[1]))",
        name,
    ]
    return f"{name} {subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()}"
