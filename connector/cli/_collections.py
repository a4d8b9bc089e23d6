"""Checks the collections that a command names against those that the source has."""

from __future__ import annotations

import os
from collections.abc import Sequence

from connector._config import resolve_part
from connector._errors import ConfigurationError
from connector._listed import list_collections
from connector._settings import SyncSettings

__all__ = ["check_collections"]

SHOWN = 20


def check_collections(settings: SyncSettings, wanted: Sequence[str]) -> None:
    """Raise `ConfigurationError` for a collection that this sync does not have: a typo would else list nothing."""
    source = resolve_part(settings.source, os.environ, settings.where, ("source",))
    known = list_collections(source)
    if unknown := [collection for collection in wanted if collection not in known]:
        there = ", ".join(known[:SHOWN]) + (f" and {len(known) - SHOWN:,} more" if len(known) > SHOWN else "")
        raise ConfigurationError(f"--collection {unknown[0]}: not in this sync's source, which has: {there or 'none'}")
