"""What a progress bar shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Progress", "ProgressCallback"]


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of one collection's sync.

    `total` is known once the scan has ended; `to_pull` of the `listed` assets were lacking somewhere so far, of
    which `pulled` have been read; `written` counts features in batches that destinations have taken, over all of them.
    """

    collection: str
    listed: int = 0
    total: int | None = None
    to_pull: int = 0
    pulled: int = 0
    written: int = 0


ProgressCallback: TypeAlias = Callable[[Progress], None]
