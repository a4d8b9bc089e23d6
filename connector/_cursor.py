"""How far the changes at a source have been followed, and what a destination also provides to remember it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from vectorferry.connector._records import Modality

__all__ = ["NO_TRUSTED_CURSOR", "Cursor", "Cursors"]

NO_TRUSTED_CURSOR: Final = "the source has no changed-since cursor that can be trusted"
"""Why most sources are listed in full."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the changes of one collection have been followed: the source's mark `since`, what it is valid for (the
    mapping's digest and the modalities), and how many incremental scans have followed the last full one."""

    since: str
    mapping: str
    modalities: frozenset[Modality]
    incremental_scans: int = 0


@runtime_checkable
class Cursors(Protocol):
    """What a destination also provides so that a source can be asked for changes only. `prepare` comes first.

    A cursor says that everything up to it is here. Whatever makes that untrue forgets it: `remove`, `tombstone`,
    `read_again`, `distrust`, and whatever else lets assets be read again (another layout, an index that is gone).
    """

    def cursor(self, collection: str) -> Cursor | None:
        """What was recorded last, if it still holds."""

    def record_cursor(self, collection: str, cursor: Cursor | None) -> None:
        """Keep this one; None: forget what is kept. Writes nothing when that changes nothing."""
