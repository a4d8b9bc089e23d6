"""Gathers whole assets into batches, by rows, by bytes and by time."""

from __future__ import annotations

import time

from vectorferry.connector._destination import Batch, LoadedAsset
from vectorferry.connector._engine._load import Loaded
from vectorferry.connector._records import Modality, Rejected
from vectorferry.connector._settings import BatchLimits

__all__ = ["Batcher"]


class Batcher:
    """Fills one batch at a time. An asset is never split, and never in a batch twice: the newer one stays."""

    def __init__(self, collection: str, modalities: frozenset[Modality], limits: BatchLimits) -> None:
        self._collection = collection
        self._modalities = modalities
        self._limits = limits
        self._filling: dict[str, Loaded] = {}
        self._rows = 0
        self._bytes = 0
        self._since = 0.0

    def add(self, loaded: Loaded) -> Batch | None:
        """Take one more asset; the batch before it when the two do not fit together, or it has waited long enough.

        Only an asset that is over a limit by itself makes a batch that is.
        """
        self._forget(loaded.asset_id)
        full = self.flush() if self._overflows(loaded) or self._is_old() else None
        if not self._filling:
            self._since = time.monotonic()
        self._filling[loaded.asset_id] = loaded
        self._rows += loaded.rows
        self._bytes += loaded.bytes
        return full

    def flush(self) -> Batch | None:
        """What has been gathered, sorted by asset id so that concurrent writers lock rows in one order."""
        if not self._filling:
            return None
        records = [self._filling[asset_id].record for asset_id in sorted(self._filling)]
        self._filling = {}
        self._rows = self._bytes = 0
        return Batch(
            self._collection,
            self._modalities,
            tuple(record for record in records if isinstance(record, LoadedAsset)),
            tuple(record for record in records if isinstance(record, Rejected)),
        )

    def _overflows(self, loaded: Loaded) -> bool:
        return self._rows + loaded.rows > self._limits.rows or self._bytes + loaded.bytes > self._limits.bytes

    def _is_old(self) -> bool:
        """Whether a slow source has kept what was read waiting: a run that is stopped reads it again."""
        return time.monotonic() - self._since >= self._limits.seconds

    def _forget(self, asset_id: str) -> None:
        if older := self._filling.pop(asset_id, None):
            self._rows -= older.rows
            self._bytes -= older.bytes
