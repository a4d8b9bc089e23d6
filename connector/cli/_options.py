"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from vectorferry.connector._settings import SyncSettings

__all__ = [
    "DEFAULT_CONFIG",
    "AllowDeletes",
    "AllowDeletesOf",
    "AsJson",
    "Collections",
    "ConfigFile",
    "Full",
    "LockWait",
    "StoredCollections",
    "SyncName",
    "VisibleTimeout",
    "WaitVisible",
    "allowing_deletes",
]

ConfigFile = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The sync's configuration.")]
SyncName = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Which sync, where the file describes several.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
AllowDeletes = Annotated[
    float | None,
    typer.Option(metavar="SHARE", min=0, max=1, help="Allow up to this share of a collection to be deleted."),
]
AllowDeletesOf = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-deletes-of",
        metavar="ID",
        help="Allow everything of this collection to be deleted, also when it is gone; may be repeated.",
    ),
]

Collections = Annotated[
    list[str] | None,
    typer.Option("--collection", metavar="ID", help="Only this collection, by id or by name; may be repeated."),
]
StoredCollections = Annotated[
    list[str] | None, typer.Option("--collection", metavar="ID", help="Only this collection, by id; may be repeated.")
]
Full = Annotated[bool, typer.Option("--full", help="List everything, even if the source could list just the changes.")]
LockWait = Annotated[
    float,
    typer.Option(
        "--lock-wait", metavar="SECONDS", min=0, help="How long to wait where another sync is writing a collection."
    ),
]
WaitVisible = Annotated[
    bool, typer.Option("--wait-visible", help="Wait until queries see what was written, where that takes a while.")
]
VisibleTimeout = Annotated[
    float,
    typer.Option("--visible-timeout", metavar="SECONDS", min=0.1, help="Fail --wait-visible when it takes longer."),
]

DEFAULT_CONFIG = Path("vectorferry.yaml")


def allowing_deletes(
    settings: SyncSettings, share: float | None, collections: Sequence[str] | None = None
) -> SyncSettings:
    """The settings with this share in the delete guard, unless it is None, and no guard for these collections."""
    if share is None and not collections:
        return settings
    return settings.model_copy(update={"deletes": settings.deletes.allowing(share, collections or ())})
