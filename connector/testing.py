"""For tests of sources and destinations: one of each in memory, which are the models, and the engine on opened ones."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set,
)
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import blake2b
from operator import itemgetter
from typing import Any
from zlib import crc32

import numpy as np

from vectorferry.connector._engine._refill import refill
from vectorferry.connector._engine.plan._plan import plan
from vectorferry.connector._engine.sync._run import sync
from vectorferry.connector._engine.verify._verify import verify
from vectorferry.connector._model._batch import (
    Applied,
    Batch,
    Contents,
    Counts,
    MappedAsset,
    MappedFeature,
    RecordHashes,
    RowCounts,
)
from vectorferry.connector._model._discrepancies import (
    SLICES,
    Difference,
    DigestKind,
    DigestSum,
    Discrepancy,
    Distrusted,
    SliceSums,
    StoredDigest,
    sum_slices,
)
from vectorferry.connector._model._errors import DestinationError, LockedError
from vectorferry.connector._model._last_good import with_last_good, without_distrusted
from vectorferry.connector._model._limits import VectorKind
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._model._records import (
    ALL_MODALITIES,
    MODALITIES,
    Asset,
    AssetState,
    DenseVector,
    Listing,
    Modality,
    Reason,
    Rejected,
)
from vectorferry.connector._model._related import RelatedRow, RelatedTable, related_counts
from vectorferry.connector._model._rows import is_row_of
from vectorferry.connector._model._vectors import dense_dimension, vector_bytes, vector_hash
from vectorferry.connector._protocols._allowance import Account, Allowance, Hold, Loan
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import (
    Averages,
    Cursor,
    Destination,
    Known,
    Planned,
    RecordedRun,
    SearchAnswer,
    SearchQuery,
    Status,
    TableStatus,
    VectorCount,
)
from vectorferry.connector._protocols._source import Origin, Source, Usage

__all__ = ["MemoryAllowance", "MemoryDestination", "MemorySource", "plan", "refill", "sync", "verify"]


class MemorySource(Source):
    """Serves assets from a dictionary per collection; `states` names the assets that are not ready, `related` holds
    tables of metadata with their rows, by name, and `account` says who reads it."""

    def __init__(self, assets: Mapping[str, Iterable[Asset]]) -> None:
        self.assets = {name: {asset.asset_id: asset for asset in each} for name, each in assets.items()}
        self.states: dict[str, AssetState] = {}
        self.related: dict[str, tuple[RelatedTable, list[Mapping[str, Any]]]] = {}
        self.account: dict[str, str] = {}
        self._usage = Usage()

    @property
    def usage(self) -> Usage:
        """Every scan and every asset read counts as one request."""
        return self._usage

    async def collections(self) -> Sequence[str]:
        """All of them."""
        return list(self.assets)

    def is_gone(self, collection: str) -> bool:
        """Every collection is named, so it is."""
        return collection not in self.assets

    async def identity(self, collection: str) -> Origin:  # noqa: ARG002
        """The account, the same for every collection."""
        return {"source": "memory", **self.account}

    async def scan(self, collection: str) -> AsyncIterator[Listing]:
        """List the assets as they are when the scan begins, which makes it complete."""
        self._usage.requests += 1
        for asset in list(self.assets[collection].values()):
            state = self.states.get(asset.asset_id, AssetState.READY)
            yield Listing(asset.asset_id, asset.fingerprint, state, asset.turn)

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset | Rejected]:
        """Read one asset at a time, as it is now; one that has vanished is left out."""
        async for listing in listings:
            self._usage.requests += 1
            if asset := self.assets[collection].get(listing.asset_id):
                yield asset

    @property
    def related_tables(self) -> Sequence[RelatedTable]:
        """Those of `related`."""
        return [table for table, _ in self.related.values()]

    async def related_rows(self, table: RelatedTable) -> AsyncIterator[Mapping[str, Any]]:
        """The rows as they are when it begins."""
        self._usage.requests += 1
        for row in list(self.related[table.name][1]):
            yield row

    def requests_to_read(self, assets: int, features: int) -> int:  # noqa: ARG002
        """One for each asset."""
        return assets

    async def aclose(self) -> None:
        """Nothing to release."""


class MemoryAllowance(Allowance):
    """Lends to whoever is in this process, by this clock."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._next_at: dict[tuple[Account, str], float] = {}
        self._holds: defaultdict[Account, dict[str, tuple[float, str]]] = defaultdict(dict)

    async def borrow(self, account: Account, kind: str, requests: int, interval: float) -> Loan:
        """Behind what has been borrowed before."""
        now = self._clock()
        first = max(now, self._next_at.get((account, kind), now))
        self._next_at[account, kind] = first + requests * interval
        return Loan(first - now, await self.holds(account))

    async def holds(self, account: Account) -> Mapping[str, Hold]:
        """Those that have not ended."""
        now = self._clock()
        kinds = self._holds[account].items()
        return {kind: Hold(until - now, until, reason) for kind, (until, reason) in kinds if until > now}

    async def hold(self, account: Account, kind: str, seconds: float, reason: str = "") -> None:
        """Keep the one that ends last."""
        until = self._clock() + seconds
        if until > self._holds[account].get(kind, (0.0, ""))[0]:
            self._holds[account][kind] = until, reason


class MemoryDestination(Destination):
    """Keeps assets, ledger and quarantine in dictionaries, per collection."""

    capabilities = frozenset(
        {
            Capability.ALLOWANCE,
            Capability.CONTENTS,
            Capability.CURSORS,
            Capability.LOCK,
            Capability.ORIGINS,
            Capability.PLAN,
            Capability.QUARANTINE,
            Capability.RELATED_TABLES,
            Capability.RUNS,
            Capability.STORED_ASSETS,
            Capability.STORED_COLLECTIONS,
            Capability.TOMBSTONES,
            Capability.VERIFY,
        }
    )

    def __init__(self, name: str = "memory") -> None:
        self._name = name
        self.assets: dict[str, dict[str, MappedAsset]] = {}
        self.ledger: dict[str, dict[str, Known]] = {}
        self.quarantine: dict[str, dict[tuple[str, ...], Rejected]] = {}
        self._hidden: defaultdict[str, dict[str, MappedAsset]] = defaultdict(dict)
        self.cursors: dict[str, Cursor] = {}
        self.origins: dict[str, Origin] = {}
        self.recorded_runs: dict[tuple[str, str], RecordedRun] = {}
        self.limits = MemoryAllowance()
        self._recorded: defaultdict[str, dict[str, RecordHashes]] = defaultdict(dict)
        self._distrusted = Distrusted()
        self._mapping = SchemaMapping()
        self.related: defaultdict[str, dict[str, RelatedRow]] = defaultdict(dict)
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._written_at: dict[tuple[str, Rejected], datetime] = {}

    @property
    def name(self) -> str:
        """The label it was given."""
        return self._name

    def prepare(self, mapping: SchemaMapping) -> None:
        """Dictionaries take any mapping."""
        self._mapping = mapping

    def known(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Known]:
        """The ledger's entries for those of these assets that it has."""
        ledger, distrusted = self.ledger.get(collection, {}), self._distrusted.assets(collection)
        asked = [asset_id for asset_id in asset_ids if asset_id in ledger and asset_id not in distrusted]
        return {asset_id: ledger[asset_id] for asset_id in asked}

    def apply(self, batch: Batch) -> Applied:
        """Replace the batch's modalities of these assets; other modalities stay."""
        applied = Applied()
        assets, ledger = self.assets.setdefault(batch.collection, {}), self.ledger.setdefault(batch.collection, {})
        batch = self._with_last_good(batch)
        for asset in batch.assets:
            old = assets.get(asset.asset_id)
            kept = [feature for feature in old.features if feature.modality not in batch.modalities] if old else []
            new = assets[asset.asset_id] = replace(asset, features=(*kept, *asset.features), rejected=())
            ledger[asset.asset_id] = _entry(new, batch.modalities, ledger.get(asset.asset_id))
            self._recorded[batch.collection][asset.asset_id] = hashes_of(new)
            _count(applied, old, new, batch.modalities, self._show(batch, asset.asset_id))
        self._distrusted.forget(batch.collection, (asset.asset_id for asset in batch.assets))
        read = {asset.asset_id for asset in batch.assets}
        for asset_id in {record.asset_id for record in batch.rejected} & ledger.keys() - read:
            ledger[asset_id] = replace(ledger[asset_id], fingerprint="")
        self._set_aside(batch, applied)
        return applied

    def asset_ids(self, collection: str) -> Iterable[str]:
        """Assets in the ledger, and those that only ever reached the quarantine, so that both can be removed."""
        quarantined = {asset_id for asset_id, *_ in self.quarantine.get(collection, {})}
        named = self.ledger.get(collection, {}).keys() | quarantined | self._distrusted.assets(collection)
        return iter(sorted(named))

    def remove(self, collection: str, asset_ids: Sequence[str]) -> Applied:
        """Forget these assets and everything that belongs to them."""
        applied = Applied()
        for asset_id, old in self._take_out(collection, asset_ids).items():
            _count(applied, old, None, ALL_MODALITIES, self._hidden[collection].pop(asset_id, None))
        return applied

    def tombstone(self, collection: str, asset_ids: Sequence[str]) -> Applied:
        """Move these assets to where nobody looks; their vectors do not count as deleted."""
        applied, hidden = Applied(), self._hidden[collection]
        for asset_id, old in self._take_out(collection, asset_ids).items():
            if old:
                earlier = hidden[asset_id].features if asset_id in hidden else ()
                hidden[asset_id] = replace(old, features=(*earlier, *old.features))
                _count(applied, _without_vectors(old), None, ALL_MODALITIES)
        return applied

    def vector_kinds(self) -> Iterable[VectorKind]:
        """Of all vectors that are there."""
        return set(self._dimensions())

    def vector_counts(self, vector_names: Collection[str]) -> Sequence[VectorCount]:
        """Counted among all features."""
        counts = Counter(key for key in self._dimensions() if key[1] in vector_names)
        several = Counter(key[:2] for key in counts)
        return [VectorCount(*key, rows, "memory") for key, rows in counts.items() if several[key[:2]] > 1]

    def quarantined(self, collection: str) -> int:
        """How many records of a collection are in quarantine."""
        return len(self.quarantine.get(collection, {}))

    def rejected(self, collection: str | None = None) -> Iterable[tuple[str, Rejected, datetime]]:
        """Every record in quarantine, sorted; a record that is set aside again keeps its time."""
        named = self.quarantine if collection is None else [collection]
        for name in sorted(named):
            for _, record in sorted(self.quarantine.get(name, {}).items()):
                yield name, record, self._written_at[name, record]

    def forget_rejected(self, collection: str, asset_ids: Sequence[str], reason: Reason | None = None) -> int:
        """Drop records, and nothing else."""
        meant, stored = set(asset_ids), self.quarantine.get(collection, {})
        gone = [key for key, record in stored.items() if key[0] in meant and reason in (None, record.reason)]
        for key in gone:
            del stored[key]
        return len(gone)

    def read_again(self, collection: str, asset_ids: Sequence[str], *, in_run: bool = False) -> int:
        """Forget the fingerprints of these assets."""
        if in_run:
            self._void_cursor(collection)
        else:
            self.record_cursor(collection, None)
        ledger = self.ledger.get(collection, {})
        meant = [asset_id for asset_id in set(asset_ids) if asset_id in ledger and ledger[asset_id].fingerprint]
        for asset_id in meant:
            ledger[asset_id] = replace(ledger[asset_id], fingerprint="")
        return len(meant)

    def contents(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Contents]:
        """What was recorded; the dimensions are those of the vectors that are there."""
        recorded, assets = self._recorded[collection], self.assets.get(collection, {})
        return {name: _contents(recorded[name], assets.get(name)) for name in asset_ids if name in recorded}

    def content_counts(self, collection: str) -> RowCounts:
        """Counted now."""
        return Counter((of, name) for hashes in self._recorded[collection].values() for of, name, _ in hashes)

    def cursor(self, collection: str) -> Cursor | None:
        """What was recorded last, unless it is void."""
        cursor = self.cursors.get(collection)
        return None if cursor is None or cursor.is_void else cursor

    def record_cursor(self, collection: str, cursor: Cursor | None, before: Cursor | None = None) -> None:
        """Keep it, or forget what is kept."""
        if before is not None and not before.is_entry(self.cursors.get(collection)):
            return
        if cursor is None:
            self.cursors.pop(collection, None)
        else:
            self.cursors[collection] = cursor

    def origin(self, collection: str) -> Origin | None:
        """What was recorded last."""
        return self.origins.get(collection)

    def record_origin(self, collection: str, origin: Origin | None) -> None:
        """Keep it, or forget what is kept."""
        if origin is None:
            self.origins.pop(collection, None)
        else:
            self.origins[collection] = dict(origin)

    def record_runs(self, runs: Sequence[RecordedRun]) -> None:
        """Keep all of them."""
        now = datetime.now(UTC)
        for run in runs:
            self.recorded_runs[run.run_id, run.collection] = replace(run, recorded_at=now)

    def runs(
        self, since: datetime | None = None, limit: int = 1_000, collection: str | None = None
    ) -> Sequence[RecordedRun]:
        """What was kept."""
        kept = [run for run in self.recorded_runs.values() if collection in (None, run.collection)]
        ordered = sorted(kept, key=lambda run: (run.recorded_at, run.run_id, run.collection))
        if since is None:
            return ordered[::-1][:limit]
        return [run for run in ordered if run.recorded_at and run.recorded_at >= since][:limit]

    def allowance(self) -> Allowance:
        """Of this process alone."""
        return self.limits

    @contextmanager
    def lock(self, collection: str, wait: float = 0) -> Iterator[None]:
        """Keep others in this process out."""
        if not self._locks[collection].acquire(timeout=wait):
            raise LockedError(f"another sync in this process is writing {collection}.")
        try:
            yield
        finally:
            self._locks[collection].release()

    def discrepancies(self, collection: str, sample: int | None = None) -> Iterable[Discrepancy]:  # noqa: ARG002
        """Everything is compared: a sample would save nothing."""
        ledger = self.ledger.get(collection, {})
        return discrepancies_of(self._recorded[collection], self.assets.get(collection, {}), ledger.keys())

    def digests(self, collection: str, asset_ids: Sequence[str] | None = None) -> Iterable[StoredDigest]:
        """The hashes that were recorded."""
        recorded = self._recorded[collection]
        for asset_id in sorted(recorded.keys() if asset_ids is None else recorded.keys() & set(asset_ids)):
            if asset_id in self.assets[collection]:
                yield StoredDigest(asset_id, "", "", "", self.assets[collection][asset_id].row_hash)
            yield from in_order(asset_id, recorded[asset_id])

    def digest_sums(self, collection: str, slices: int) -> SliceSums[DigestKind]:
        """Added up here, by a hash of its own."""
        return sum_slices(
            ((each.modality, each.vector_name), _slice_of(each.asset_id, slices), _sum_of(each))
            for each in self.digests(collection)
        )

    def slice_assets(self, collection: str, slices: Set[int]) -> Iterable[str]:
        """Looked for among all."""
        named = self._recorded[collection].keys() | self.assets.get(collection, {}).keys()
        return [asset_id for asset_id in named if _slice_of(asset_id, SLICES) in slices]

    def unrecorded_collections(self) -> Mapping[str, Sequence[str]]:
        """Those that something was put into by hand."""
        unrecorded = {name for name, stored in self.assets.items() if stored} - {*self.stored_collections()}
        return {name: [f"del {self.name}.assets[{name!r}]"] for name in sorted(unrecorded)}

    def distrust(self, collection: str, discrepancies: Iterable[Discrepancy]) -> None:
        """Have these assets read again: they are replaced as wholes anyway."""
        self.record_cursor(collection, None)
        self._distrusted.add(collection, discrepancies)

    def related_hashes(self, table: RelatedTable) -> Mapping[str, bytes]:
        """Of the rows that it was given."""
        return {key: row.row_hash for key, row in self.related.get(table.name, {}).items()}

    def replace_related(self, table: RelatedTable, rows: Sequence[RelatedRow], *, complete: bool) -> Counts:
        """Keep these rows, and unless they are `complete` those that were there."""
        counts = related_counts(self.related_hashes(table), rows, complete=complete)
        kept = {} if complete else self.related[table.name]
        self.related[table.name] = {**kept, **{row.key: row for row in rows}}
        return counts

    def stored_collections(self) -> Sequence[str]:
        """Those with an asset in the ledger or the quarantine, sorted."""
        return sorted({name for books in (self.ledger, self.quarantine) for name, stored in books.items() if stored})

    def stored(self, collection: str, asset_ids: Sequence[str]) -> Iterable[MappedAsset]:
        """These assets as they were applied, with their features that are in quarantine, in the order of their ids."""
        assets = self.assets.get(collection, {})
        for asset_id in sorted(set(asset_ids)):
            if asset_id in assets:
                yield self._as_stored(collection, assets[asset_id])

    def planned(self, mapping: SchemaMapping) -> Planned:  # noqa: ARG002
        """Nothing has to be made for any mapping."""
        return Planned(
            self.known,
            self.asset_ids,
            collections=self.stored_collections,
            related_hashes=self.related_hashes,
            averages=_averages(self.assets),
            cursor=self.cursor,
            origin=self.origin,
            vector_counts=self.vector_counts({name for _, name, _ in self._dimensions()}),
        )

    def status(self) -> Status:
        """Counted now."""
        assets = {collection: len(stored) for collection, stored in self.assets.items()}
        quarantined = sum(map(len, self.quarantine.values()))
        tables = [self._table(modality) for modality in MODALITIES]
        related = {name: len(rows) for name, rows in self.related.items()}
        return Status(self.name, "memory", assets, tables, quarantined, related=related)

    def search(self, query: SearchQuery) -> SearchAnswer:
        """By cosine distance to every dense vector of the name; filters compare columns, or the collection, for
        equality."""
        filters = dict(query.filters)
        candidates = [
            (feature, vector)
            for feature in self._features(query.modality, filters.pop("collection", None))
            if isinstance(vector := feature.vectors.get(query.vector_name or ""), np.ndarray)
        ]
        near = next((v for f, v in candidates if f.feature_id == query.like), query.vector)
        if not isinstance(near, np.ndarray):
            raise DestinationError(f"{self.name}: nothing to search by: give a dense vector, or an id that has one")
        rows = [
            {"feature_id": feature.feature_id, **feature.columns, "distance": _cosine_distance(vector, near)}
            for feature, vector in candidates
            if vector.shape == near.shape and filters.items() <= feature.columns.items()
        ]
        return SearchAnswer("cosine distance", sorted(rows, key=itemgetter("distance"))[: query.limit], exact=True)

    def close(self) -> None:
        """Nothing to release."""

    def _with_last_good(self, batch: Batch) -> Batch:
        """The batch with what is stored of everything that was set aside, and marked so."""
        stored = self.ledger[batch.collection].keys() - {asset.asset_id for asset in batch.assets}
        rejected = [replace(one, kept=one.asset_id in stored) for one in batch.rejected]
        assets = [self._joined(asset, batch) if asset.rejected else asset for asset in batch.assets]
        return replace(batch, assets=tuple(assets), rejected=tuple(rejected))

    def _joined(self, asset: MappedAsset, batch: Batch) -> MappedAsset:
        stored = self.assets[batch.collection].get(asset.asset_id)
        features = [one for one in stored.features if one.modality in batch.modalities] if stored else []
        trusted = without_distrusted(features, asset, batch.collection, self._distrusted)
        return with_last_good(asset, trusted, self._mapping)

    def _void_cursor(self, collection: str) -> None:
        if collection in self.cursors:
            self.cursors[collection] = replace(self.cursors[collection], is_void=True)

    def _take_out(self, collection: str, asset_ids: Sequence[str]) -> dict[str, MappedAsset | None]:
        """Forget these assets in all books; what was there of each."""
        gone = set(asset_ids)
        self._void_cursor(collection)
        self._distrusted.forget(collection, gone)
        quarantine = self.quarantine.get(collection, {})
        self.quarantine[collection] = {key: record for key, record in quarantine.items() if key[0] not in gone}
        for books in (self.ledger.get(collection, {}), self._recorded[collection]):
            for asset_id in gone:
                books.pop(asset_id, None)
        return {asset_id: self.assets.get(collection, {}).pop(asset_id, None) for asset_id in gone}

    def _show(self, batch: Batch, asset_id: str) -> MappedAsset | None:
        """Drop what is hidden of an asset that is being replaced; what that was. Other modalities stay hidden."""
        hidden = self._hidden[batch.collection].pop(asset_id, None)
        if hidden is None:
            return None
        others = tuple(feature for feature in hidden.features if feature.modality not in batch.modalities)
        if others:
            self._hidden[batch.collection][asset_id] = replace(hidden, features=others)
        return hidden

    def _set_aside(self, batch: Batch, applied: Applied) -> None:
        quarantine = self.quarantine.setdefault(batch.collection, {})
        read = {asset.asset_id for asset in batch.assets} | {record.asset_id for record in batch.rejected}
        other = {modality.value for modality in MODALITIES if modality not in batch.modalities}
        for key in [k for k, record in quarantine.items() if k[0] in read and not (k[1] and record.modality in other)]:
            del quarantine[key]
        for record in (*batch.rejected, *(record for asset in batch.assets for record in asset.rejected)):
            quarantine[record.asset_id, record.feature_id, record.vector_name, record.column] = record
            self._written_at.setdefault((batch.collection, record), datetime.now(UTC))
            applied.set_aside(record)

    def _as_stored(self, collection: str, asset: MappedAsset) -> MappedAsset:
        quarantine = self.quarantine.get(collection, {})
        rejected = [quarantine[key] for key in sorted(quarantine) if key[0] == asset.asset_id and key[1]]
        features = sorted(asset.features, key=lambda feature: (feature.feature_id, feature.modality))
        return replace(asset, features=tuple(features), rejected=tuple(rejected))

    def _features(self, modality: Modality, collection: str | None = None) -> list[MappedFeature]:
        stored = self.assets.values() if collection is None else [self.assets.get(collection, {})]
        assets = [asset for each in stored for asset in each.values()]
        return [feature for asset in assets for feature in asset.features if feature.modality == modality]

    def _dimensions(self) -> Iterator[tuple[Modality, str, int | None]]:
        """Modality, name and dimension of every vector."""
        for modality in MODALITIES:
            for feature in self._features(modality):
                for name, vector in feature.vectors.items():
                    yield modality, name, dense_dimension(vector)

    def _table(self, modality: Modality) -> TableStatus:
        rows = {
            collection: sum(feature.modality == modality for asset in stored.values() for feature in asset.features)
            for collection, stored in self.assets.items()
        }
        return TableStatus(modality.value, modality, None, sum(rows.values()), rows)


def _contents(recorded: RecordHashes, asset: MappedAsset | None) -> Contents:
    vectors = {
        (feature.modality, name, feature.feature_id): len(vector) if isinstance(vector, np.ndarray) else None
        for feature in (asset.features if asset else ())
        for name, vector in feature.vectors.items()
    }
    contents: defaultdict[Modality, dict[str, dict[str, int | None]]] = defaultdict(dict)
    for key in recorded:
        modality, name, feature_id = key
        named = contents[modality].setdefault(str(feature_id), {})
        if name is not None:
            named[name] = vectors.get((modality, name, str(feature_id)))
    return contents


def _entry(asset: MappedAsset, modalities: frozenset[Modality], old: Known | None) -> Known:
    still = old.modalities if old and old.fingerprint == asset.fingerprint else frozenset()
    return Known(asset.fingerprint, modalities | still, Counter(feature.modality for feature in asset.features))


def _averages(stored: Mapping[str, Mapping[str, MappedAsset]]) -> Averages | None:
    assets = [asset for by_id in stored.values() for asset in by_id.values()]
    features = [feature for asset in assets for feature in asset.features]
    if not features:
        return None
    vectors = [vector for feature in features for vector in feature.vectors.values()]
    size = sum(map(vector_bytes, vectors))
    return Averages(len(features) / len(assets), 1 + len(vectors) / len(features), size / len(features))


def _count(
    applied: Applied,
    old: MappedAsset | None,
    new: MappedAsset | None,
    modalities: frozenset[Modality],
    hidden: MappedAsset | None = None,
) -> None:
    """Count what changes from old to new. Rows that were hidden were not there, but their vectors were."""
    if old or new:
        applied.assets.compare(old.row_hash if old else None, new.row_hash if new else None)
    before, after, behind = (_hashes(asset, modalities) for asset in (old, new, hidden))
    vectors: RecordHashes = {key: digest for key, digest in behind.items() if key[1] is not None}
    applied.compare({**vectors, **before}, after)


def _without_vectors(asset: MappedAsset) -> MappedAsset:
    return replace(asset, features=tuple(replace(one, vectors={}, vector_hashes={}) for one in asset.features))


def _hashes(asset: MappedAsset | None, modalities: frozenset[Modality]) -> RecordHashes:
    return {key: digest for key, digest in hashes_of(asset).items() if key[0] in modalities} if asset else {}


def _cosine_distance(one: DenseVector, other: DenseVector) -> float:
    return 1 - float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def hashes_of(asset: MappedAsset) -> RecordHashes:
    """The hashes of its features' rows and vectors."""
    rows: RecordHashes = {(one.modality, None, one.feature_id): one.row_hash for one in asset.features}
    vectors: RecordHashes = {
        (one.modality, name, one.feature_id): digest
        for one in asset.features
        for name, digest in one.vector_hashes.items()
    }
    return {**rows, **vectors}


def discrepancies_of(
    recorded: Mapping[str, RecordHashes], assets: Mapping[str, MappedAsset], ledger: Set[str]
) -> Iterator[Discrepancy]:
    """What differs between the hashes that were recorded and the assets that are there."""
    for asset_id in sorted(ledger | assets.keys()):
        asset = assets.get(asset_id)
        if asset_id not in ledger:
            yield Discrepancy(Difference.EXTRA, asset_id)
        elif asset is None:
            yield Discrepancy(Difference.MISSING, asset_id)
        else:
            yield from _compared(asset, recorded.get(asset_id, {}))


def in_order(asset_id: str, hashes: RecordHashes) -> list[StoredDigest]:
    """The hashes of one asset, sorted."""
    return sorted(
        StoredDigest(asset_id, str(feature_id), modality.value, vector_name or "", digest)
        for (modality, vector_name, feature_id), digest in hashes.items()
    )


def _slice_of(asset_id: str, slices: int) -> int:
    return crc32(asset_id.encode()) % slices


def _sum_of(record: StoredDigest) -> DigestSum:
    if not record.digest:
        return DigestSum(1, 0, unknown=1)
    record_hash = blake2b(repr(record).encode(), digest_size=16).digest()
    return DigestSum(1, int.from_bytes(record_hash[:8]), int.from_bytes(record_hash[8:]))


def _compared(asset: MappedAsset, recorded: RecordHashes) -> Iterator[Discrepancy]:
    found = hashes_of(asset)
    kinds = {
        **dict.fromkeys(recorded.keys() - found.keys(), Difference.MISSING),
        **dict.fromkeys(found.keys() - recorded.keys(), Difference.EXTRA),
        **dict.fromkeys(_wrong(asset), Difference.DIFFERENT),
    }
    for (modality, vector_name, feature_id), kind in sorted(kinds.items(), key=str):
        yield Discrepancy(kind, asset.asset_id, str(feature_id), modality, vector_name)


def _wrong(asset: MappedAsset) -> RecordHashes:
    rows: RecordHashes = {
        (one.modality, None, one.feature_id): one.row_hash
        for one in asset.features
        if not is_row_of(one.row_hash, one.columns, one.metadata, one.extra)
    }
    vectors: RecordHashes = {
        (one.modality, name, one.feature_id): b""
        for one in asset.features
        for name, vector in one.vectors.items()
        if vector_hash(vector) != one.vector_hashes[name]
    }
    return {**rows, **vectors}
