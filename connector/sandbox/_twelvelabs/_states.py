"""How what was submitted moves on while it is looked at."""

from __future__ import annotations

from typing import Final

from connector.sandbox._twelvelabs._things import IndexedAsset, Upload
from connector.sandbox._twelvelabs._times import later

__all__ = ["INDEXING", "UPLOADING", "looked_at", "upcoming", "upload_looked_at"]

UPLOADING: Final = ("processing", "ready")
INDEXING: Final = ("pending", "queued", "indexing", "ready")


def upcoming(states: tuple[str, ...], polls: int | None) -> tuple[str, ...]:
    """What follows the first of `states`, look by look, when each lasts this many; None: nothing ever does."""
    if polls is None:
        return ()
    return tuple(state for state in states[:-1] for _ in range(polls))[1:] + states[-1:]


def looked_at(asset: IndexedAsset) -> None:
    """Move on after an answer."""
    if asset.upcoming:
        state, *rest = asset.upcoming
        asset.upcoming = tuple(rest)
        if state != asset.status:
            asset.set_status(state, later(asset.updated_at))


def upload_looked_at(upload: Upload) -> None:
    """Move on after an answer."""
    if upload.upcoming:
        upload.status, *rest = upload.upcoming
        upload.upcoming = tuple(rest)
