"""Checks the collections that a command names against those that the source has."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from connector._config import resolve_part
from connector._errors import ConfigurationError
from connector._settings import SourceSettings, SyncSettings

__all__ = ["check_collections"]

SHOWN = 20


def check_collections(settings: SyncSettings, wanted: Sequence[str]) -> None:
    """Raise `ConfigurationError` for a collection that this sync does not have: a typo would else list nothing."""
    source = resolve_part(settings.source, os.environ, settings.where, ("source",))
    known = asyncio.run(_known(source))
    if unknown := [collection for collection in wanted if collection not in known]:
        there = ", ".join(known[:SHOWN]) + (f" and {len(known) - SHOWN:,} more" if len(known) > SHOWN else "")
        raise ConfigurationError(f"--collection {unknown[0]}: not in this sync's source, which has: {there or 'none'}")


async def _known(settings: SourceSettings) -> Sequence[str]:
    source = settings.open()
    try:
        return await source.collections()
    finally:
        await source.aclose()
