"""Working off quarantines: which records are meant, dropping them, and having their assets read again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, islice
from operator import itemgetter
from os import environ as process_environ
from typing import Final, TypeAlias

from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._engine._opening import opened
from vectorferry.connector._engine.sync._options import SyncOptions
from vectorferry.connector._engine.sync._run import run_sync
from vectorferry.connector._model._records import Reason, Rejected
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Destination
from vectorferry.connector._reports._progress import ProgressCallback
from vectorferry.connector._reports._summary import Summary

ASSETS_AT_ONCE: Final = 1_000

RejectedAt: TypeAlias = tuple[str, Rejected, datetime]
"""A record in quarantine, with its collection and when it was written."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records are meant: those of these collections and assets (empty: of all), for this reason (None: any)."""

    collections: frozenset[str] = frozenset()
    assets: frozenset[str] = frozenset()
    reason: Reason | None = None

    def holds(self, collection: str, record: Rejected) -> bool:
        """Whether this record is meant."""
        return (
            collection in (self.collections or {collection})
            and record.asset_id in (self.assets or {record.asset_id})
            and self.reason in {None, record.reason}
        )


def selected(destination: Destination, selection: Selection) -> Iterator[RejectedAt]:
    """The records of one destination that are meant, streamed in the order of collection, asset and feature."""
    only = next(iter(selection.collections)) if len(selection.collections) == 1 else None
    return (record for record in destination.rejected(only) if selection.holds(record[0], record[1]))


def drop_selected(destination: Destination, selection: Selection) -> int:
    """Drop the records that are meant, and nothing else; how many there were."""
    groups = _assets(selected(destination, selection))
    return sum(destination.forget_rejected(collection, ids, selection.reason) for collection, ids in groups)


def run_replay(
    settings: SyncSettings,
    selection: Selection,
    destination_name: str | None = None,
    *,
    environ: Mapping[str, str] = process_environ,
    progress: ProgressCallback | None = None,
) -> Summary:
    """Have the assets of these records read again, by a sync of just their collections.

    The records stay until their assets have been read: what is still wrong is still there, and a replay that is stopped
    has lost nothing. `destination_name` says whose records are meant (None: all). The summary has no collection when no
    record is meant, and then the source was not asked. Raises what `run_sync` raises.
    """
    collections: set[str] = set()
    with opened(settings, needs=Capability.QUARANTINE, name=destination_name, environ=environ) as destinations:
        for destination in destinations:
            for collection, asset_ids in _assets(selected(destination, selection)):
                destination.read_again(collection, asset_ids)
                collections.add(collection)
    if not collections:
        return Summary(settings.name)
    options = SyncOptions(collections=sorted(collections), full=True)
    return run_sync(settings, options, environ=environ, progress=progress)


def _assets(records: Iterable[RejectedAt]) -> Iterator[tuple[str, Sequence[str]]]:
    """The assets of some records, each once, with their collection, a bounded number at a time."""
    for collection, of_collection in groupby(records, itemgetter(0)):
        asset_ids = (asset_id for asset_id, _ in groupby(record.asset_id for _, record, _ in of_collection))
        while chunk := list(islice(asset_ids, ASSETS_AT_ONCE)):
            yield collection, chunk
