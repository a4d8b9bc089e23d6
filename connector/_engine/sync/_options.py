"""What one run is asked to do, as one value: the command line, Dagster and Python say it alike."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from vectorferry.connector._model._records import MODALITIES, Modality

__all__ = ["DEFAULTS", "LOCK_WAIT", "NEVER", "Reread", "SyncOptions"]

DAY: Final = 86_400.0

LOCK_WAIT: Final = 60.0
"""Seconds that a run waits for others by default."""


@dataclass(frozen=True, slots=True)
class Reread:
    """Which assets are read although they seem unchanged: all of them or those of these ids, now, and each one once in
    so many `days` (None: never), at a time of its own."""

    days: float | None = None
    everything: bool = False
    asset_ids: frozenset[str] = frozenset()
    clock: Callable[[], float] = time.time

    @property
    def now(self) -> bool:
        """Whether anything is to be read by this very run."""
        return self.everything or bool(self.asset_ids)

    def asks_for(self, asset_id: str) -> bool:
        """Whether this asset is to be read by this very run."""
        return self.everything or asset_id in self.asset_ids

    def turn(self, asset_id: str, own: str = "") -> str:
        """The asset's `own` turn, behind a number that goes up by one whenever it is to be read again."""
        if self.days is None:
            return own
        period = self.days * DAY
        share = int.from_bytes(hashlib.blake2b(asset_id.encode("utf-8", "replace"), digest_size=6).digest()) / 2**48
        number = str(int((self.clock() + share * period) // period))
        return f"{number} {own}" if own else number


NEVER: Final = Reread()


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncOptions:
    """What one run is to do, beyond what the settings of its sync say. All of it is optional, and given by name.

    Attributes:
        collections: ids of the collections to sync; None: all that the source has.
        modalities: only features of these are written, and only theirs are removed.
        full: list everything, even where the source could list just the changes.
        reread: assets that are read whatever their fingerprints say. How often assets are read again without being
            asked for is the source's setting.
        related: whether to read the tables of metadata beside the assets; None: in a run of all collections.
        wait_visible: seconds to wait at most for queries to see what was written, where that takes a while.
        lock_wait: seconds to wait at most where another sync is writing a collection.
    """

    collections: Sequence[str] | None = None
    modalities: frozenset[Modality] = frozenset(MODALITIES)
    full: bool = False
    reread: Reread = NEVER
    related: bool | None = None
    wait_visible: float = 0
    lock_wait: float = LOCK_WAIT


DEFAULTS: Final = SyncOptions()
