"""The destination that another one is filled from, read in a thread of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Final, Protocol

from vectorferry.connector._destination import Destination, Known, LoadedAsset, StoredAssets, StoredContents
from vectorferry.connector._engine._load import Loaded, weighed
from vectorferry.connector._engine._losses import losses
from vectorferry.connector._engine._untouched import prepare_untouched
from vectorferry.connector._engine._worker import Worker
from vectorferry.connector._mapping import SchemaMapping
from vectorferry.connector._origin import Origin, Origins
from vectorferry.connector._records import MODALITIES

__all__ = ["Store", "StoreReader"]

PAGE: Final = 500
ALL: Final = frozenset(MODALITIES)
FEATURES_AT_ONCE: Final = 1_000
"""Some 6 MB of 1,408-d vectors: enough that the store's own work is what takes the time."""


class Store(Destination, StoredAssets, Protocol):
    """A destination that others can be filled from."""


class StoreReader:
    """Reads a store. What is asked for again after a failure is asked for as a whole, so nothing can be missed."""

    def __init__(self, store: Store) -> None:
        self.name = store.name
        self._store = store
        self._worker = Worker(store.name)

    async def prepare(self, mapping: SchemaMapping) -> Sequence[str]:
        """Prepare the store, and name its collections."""
        await self._worker.run(partial(prepare_untouched, self._store, mapping))
        return await self._worker.run(self._store.stored_collections)

    async def asset_ids(self, collection: str) -> AsyncIterator[list[str]]:
        """Every asset of a collection, page by page. Ending normally means that the list was complete."""
        ids = await self._worker.run(lambda: iter(self._store.asset_ids(collection)))
        try:
            # A stream that broke off would end at once when it is asked again, as if it were complete: no second try.
            while page := await self._worker.run(lambda: list(islice(ids, PAGE)), attempts=1):
                yield page
        finally:
            await self._worker.run(partial(_close, ids))

    async def known(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Known]:
        """The store's ledger entries for these assets."""
        return await self._worker.run(partial(self._store.known, collection, asset_ids))

    async def origin(self, collection: str) -> Origin | None:
        """Who the store's collection was read as when it was last complete, if it tells."""
        return (
            await self._worker.run(partial(self._store.origin, collection))
            if isinstance(self._store, Origins)
            else None
        )

    async def read(self, collection: str, entries: Mapping[str, Known]) -> AsyncIterator[list[Loaded | str]]:
        """These assets, a bounded number of features at a time; those that have gone meanwhile are left out. Only the
        id of one that has lost rows which the store's own books name."""
        for asset_ids in _groups(entries):
            yield await self._worker.run(partial(self._read, collection, asset_ids))

    def close(self) -> None:
        """Wait for the call that is running. The store itself stays open."""
        self._worker.close()

    def _read(self, collection: str, asset_ids: Sequence[str]) -> list[Loaded | str]:
        store: Destination = self._store
        named = store.contents(collection, asset_ids) if isinstance(store, StoredContents) else {}
        stored: Iterable[LoadedAsset] = self._store.stored(collection, asset_ids)
        return [
            weighed(asset) if losses(named.get(asset.asset_id, {}), asset, ALL) is None else asset.asset_id
            for asset in stored
        ]


def _groups(entries: Mapping[str, Known]) -> Iterator[list[str]]:
    """The assets in groups of as few features as possible, but for one that has more by itself."""
    group: list[str] = []
    gathered = 0
    for asset_id, known in entries.items():
        features = sum(known.features.values())
        if group and gathered + features > FEATURES_AT_ONCE:
            yield group
            group, gathered = [], 0
        group.append(asset_id)
        gathered += features
    if group:
        yield group


def _close(ids: Iterator[str]) -> None:
    close = getattr(ids, "close", None)
    if close is not None:
        close()
