"""Asking a source, once and on the spot, which collections it has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from connector._plugins import SourceSettings

__all__ = ["list_collections"]


def list_collections(settings: SourceSettings) -> Sequence[str]:
    """The ids of the collections that a source with these settings is for, every ``${NAME}`` already resolved.

    Raises what the source raises. Not for use inside a running event loop.
    """
    return asyncio.run(_listed(settings))


async def _listed(settings: SourceSettings) -> Sequence[str]:
    source = settings.open()
    try:
        return await source.collections()
    finally:
        await source.aclose()
