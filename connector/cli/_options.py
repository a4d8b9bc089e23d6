"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AsJson", "ConfigFile", "SyncName"]

ConfigFile = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The sync's configuration.")]
SyncName = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Which sync, where the file describes several.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]

DEFAULT_CONFIG = Path("vectorferry.yaml")
