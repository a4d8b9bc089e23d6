"""One batch on its way into Pinecone: each plan goes to all of its indexes at once, and the next is made meanwhile."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Self

from sqlalchemy import NestedTransaction

from vectorferry.connector.plugin import (
    Applied,
    Batch,
    CancellableCall,
    DestinationError,
    Distrusted,
    Modality,
    SchemaMapping,
    check_cancelled,
    is_cancelled,
)
from vectorferry.destinations._postgres import FeatureKey, mark_kept, unread_assets
from vectorferry.destinations.pinecone._bodies import EncodedRecord, encode_record
from vectorferry.destinations.pinecone._catalogue import Catalogue
from vectorferry.destinations.pinecone._desired import DesiredBatch, DesiredFeature, with_fitting_vectors
from vectorferry.destinations.pinecone._ids import record_id
from vectorferry.destinations.pinecone._last_good import EarlierParts
from vectorferry.destinations.pinecone._layout import DesiredRecord, Layout
from vectorferry.destinations.pinecone._manifest import Manifest
from vectorferry.destinations.pinecone._manifest_tables import ManifestRows, Place, RecordedAssets
from vectorferry.destinations.pinecone._write_plan import WritePlan, count_written, plan_stale, plan_writes
from vectorferry.destinations.pinecone._writer import IndexWriter, WriteResult

_GLANCE_SECONDS: Final = 0.1
JOBS_AT_ONCE: Final = 4
"""Each holds some encoded records, those that wait hold none yet. (With 32 of these threads, and 64 that send, a sync
of 40,000 × 1024-d took 365 MB instead of 172: malloc keeps something back for each thread.)"""

_FIRST_GROUP_BYTES: Final = 500_000
"""Of vectors; some 120 features of 1024 dimensions: the store gets its first request soon. A group is written while the
next one, of twice the size, is laid out, which takes about as long. (With groups that all have 2 MB, entering them in
the journal held up 20,000 × 1024-d for half of their time: each waits for Postgres while all threads want to run.)"""

_LARGEST_GROUP_BYTES: Final = 8_000_000
"""So that a group of several indexes is no more than some requests of each."""


class BatchWrite:
    """Brings the store to what a batch wants. `desired` says afterwards what was written, `applied` what that has
    changed, `rows` what was entered in the manifest.

    Before anything is touched it is in the manifest's journal, and in `touched`; to confirm what was entered is left to
    the caller.
    """

    def __init__(
        self,
        batch: Batch,
        layout: Layout,
        mapping: SchemaMapping,
        manifest: Manifest,
        catalogue: Catalogue,
        distrusted: Distrusted,
        touched: dict[Place, Modality],
    ) -> None:
        self._batch = batch
        self._layout = layout
        self._mapping = mapping
        self._manifest = manifest
        self._catalogue = catalogue
        self._earlier = EarlierParts(manifest, catalogue, layout, mapping, batch.collection, distrusted)
        self._updated: Counter[str] = Counter()
        self._touched = touched
        self.rows = ManifestRows({}, {})
        self.applied = Applied()
        self._recorded = self._read_recorded()
        self._uncertain = {place.key for place in self._recorded.unconfirmed}
        self.desired = DesiredBatch(self._fitting(batch), layout, mapping)

    def carry_out(self, threads: Executor) -> Mapping[str, int]:
        """Write, then delete. The highest sequence number of each index that was touched."""
        with Dispatch(threads, self._catalogue.writer, self._layout.namespace_of(self._batch.collection)) as dispatch:
            self._take_back(self.desired.assets)
            for group in self._groups():
                self._write(group, dispatch)
            # Nearly always all of it is taken. So all that is known by now is entered in the manifest while the last
            # requests are under way: the store would wait for that before the next batch.
            entry, stale = self._enter()
            written = dispatch.results()
            lsns: list[Mapping[str, int]] = [written.lsns]
            if written.refused:
                entry.rollback()
                lsns.append(self._write_around(written.refused, dispatch))
                _, stale = self._enter()
            dispatch.delete(stale)
            lsns.append(dispatch.results().lsns)
        return {index: max(each.get(index, 0) for each in lsns) for index in set().union(*lsns)}

    def _enter(self) -> tuple[NestedTransaction, WritePlan]:
        """Enter what is going to be true, and the rest that is to be deleted in the journal: before the manifest's
        transaction strikes anything out of that, since it would wait for the end of it."""
        self.desired.keep(self._recorded)
        stale = plan_stale(self.desired, self._recorded)
        self._begin(stale)
        self.rows = self.desired.rows(self._uncertain)
        layout = self._layout.digest(self._mapping)
        entry = self._manifest.enter(self._batch, self.rows, self.desired.rejected, layout)
        self.applied = count_written(self.desired, self._recorded, self._catalogue.vector_of)
        return entry, stale

    def _fitting(self, batch: Batch) -> Batch:
        if unread := unread_assets(batch):
            batch = mark_kept(batch, self._manifest.recorded(batch.collection, unread).assets)
        indexed = self._catalogue.vector_names
        fitting = (with_fitting_vectors(asset, self._layout, self._mapping, indexed) for asset in batch.assets)
        return replace(batch, assets=tuple(fitting))

    def _take_back(self, asset_ids: Iterable[str]) -> None:
        """Join to these assets what the store has of what was set aside."""
        assets = [asset for asset_id in asset_ids if (asset := self.desired.assets[asset_id]).rejected]
        complete, columns = self._earlier.joined(assets, self._recorded)
        self.desired.assets |= {asset.asset_id: asset for asset in complete}
        for key, values in columns.items():
            self.desired.columns.setdefault(key, {}).update(values)

    def _groups(self) -> Iterator[list[DesiredFeature]]:
        group: list[DesiredFeature] = []
        size, most = 0, _FIRST_GROUP_BYTES
        for asset_id in self.desired.assets:
            features = self.desired.add(asset_id)
            group += features
            size += sum(record.vector_bytes for feature in features for record in feature.records.values())
            if size >= most:
                yield group
                group, size, most = [], 0, min(2 * most, _LARGEST_GROUP_BYTES)
        yield group

    def _write(self, group: Sequence[DesiredFeature], dispatch: Dispatch) -> None:
        specs = {record.index: record.spec for feature in group for record in feature.records.values()}
        if self._catalogue.ensure(specs.values()):
            self._recorded = self._read_recorded()
        plan = plan_writes(group, self._recorded, self._updated)
        self._updated.update({index: len(features) for index, features in plan.updates.items()})
        self._begin(plan)
        dispatch.write(plan)

    def _read_recorded(self) -> RecordedAssets:
        return self._manifest.recorded(self._batch.collection, [asset.asset_id for asset in self._batch.assets])

    def _write_around(self, refused: Mapping[Place, str], dispatch: Dispatch) -> Mapping[str, int]:
        """Set aside what the store refused: of a feature with other records only the vectors of these, in whose place
        their earlier versions are written with what is new of the rest. What is refused again is given up."""
        by_feature: dict[FeatureKey, dict[Place, str]] = defaultdict(dict)
        for place, words in refused.items():
            by_feature[place.key][place] = words
        whole = {key for key, places in by_feature.items() if len(places) == len(self.desired.features[key].records)}
        self.desired.set_aside_features({key: min(by_feature[key].values()) for key in sorted(whole)})
        parts = {place: words for place, words in sorted(refused.items()) if place.key not in whole}
        self.desired.set_aside_vectors(parts)
        by_asset: dict[str, set[str]] = defaultdict(set)
        for place in parts:
            by_asset[place.asset_id].add(place.feature_id)
        self._take_back(by_asset)
        again = [feature for asset_id, only in by_asset.items() for feature in self.desired.add(asset_id, only)]
        self._write(again, dispatch)
        written = dispatch.results()
        self.desired.give_up(written.refused)
        return written.lsns

    def _begin(self, plan: WritePlan) -> None:
        self._manifest.begin(self._batch.collection, plan.places)
        self._touched |= plan.places


@dataclass(slots=True)
class BatchResult:
    """The highest write per index, by the store's own numbers, and the records it refused, with its words."""

    lsns: dict[str, int] = field(default_factory=dict)
    refused: dict[Place, str] = field(default_factory=dict)


class Dispatch:
    """Write plans that are being carried out in one namespace, while the next one is made; all of them have ended when
    the block has, come what may.

    `threads` are `JOBS_AT_ONCE`, `writer_of` gives the writer of an index.
    """

    def __init__(self, threads: Executor, writer_of: Callable[[str], IndexWriter], namespace: str) -> None:
        self._threads = threads
        self._writer_of = writer_of
        self._namespace = namespace
        self._jobs: list[tuple[_Job, Future[WriteResult]]] = []
        self._calls: list[CancellableCall[WriteResult]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def write(self, plan: WritePlan) -> None:
        """Begin to upsert and update what the plan says."""
        for index, features in plan.upserts.items():
            self._begin(_upsert(index, features))
        for index, features in plan.updates.items():
            self._begin(_update(index, features))

    def delete(self, plan: WritePlan) -> None:
        """Begin to delete what the plan says."""
        for index, keys in plan.deletes.items():
            self._begin(_delete(index, keys))

    def results(self) -> BatchResult:
        """What every index has answered, once all of them have. Raises the first error."""
        self.finish()
        total = BatchResult()
        for job, future in self._jobs:
            result = future.result()
            total.lsns[job.index] = max(total.lsns.get(job.index, 0), result.lsn)
            total.refused |= {Place(*job.keys[name], job.index): words for name, words in result.refused.items()}
        self._jobs.clear()
        self._calls.clear()
        return total

    def finish(self) -> None:
        """Wait until nothing is under way; when the call on this thread is cancelled, so is what is. Once something has
        failed, the rest does not begin: each part of it would try for minutes, and all of it is written again."""
        while wait(futures := [future for _, future in self._jobs], timeout=_GLANCE_SECONDS).not_done:
            if is_cancelled():
                self._cancel(futures)
                check_cancelled()
            if any(map(_has_failed, futures)):
                for future in futures:
                    future.cancel()

    def _cancel(self, futures: Sequence[Future[WriteResult]]) -> None:
        for call in self._calls:
            call.cancel()
        with ExitStack() as aborted:
            for index in {job.index for job, _ in self._jobs}:
                aborted.enter_context(self._writer_of(index).aborting())
            wait([future for future in futures if not future.cancel()])

    def _begin(self, job: _Job) -> None:
        """Raises the error of what has failed meanwhile."""
        for failed in (future for _, future in self._jobs if _has_failed(future)):
            failed.result()
        call = CancellableCall(partial(job.work, self._writer_of(job.index), self._namespace))
        self._calls.append(call)
        self._jobs.append((job, self._threads.submit(call)))


def _has_failed(future: Future[WriteResult]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is not None


@dataclass(frozen=True, slots=True)
class _Job:
    """What one index is sent, and the features by record id."""

    index: str
    work: Callable[[IndexWriter, str], WriteResult]
    keys: Mapping[str, FeatureKey]


def _upsert(index: str, features: Sequence[DesiredFeature]) -> _Job:
    def work(writer: IndexWriter, namespace: str) -> WriteResult:
        return writer.upsert(namespace, (_encoded(feature, feature.records[index]) for feature in features))

    return _Job(index, work, _keys(features))


def _update(index: str, features: Sequence[DesiredFeature]) -> _Job:
    def work(writer: IndexWriter, namespace: str) -> WriteResult:
        return writer.update(namespace, ((feature.record_id, feature.metadata) for feature in features))

    return _Job(index, work, _keys(features))


def _delete(index: str, keys: Sequence[FeatureKey]) -> _Job:
    ids = {record_id(*key): key for key in keys}

    def work(writer: IndexWriter, namespace: str) -> WriteResult:
        result = writer.delete(namespace, ids)
        for identifier, words in result.refused.items():  # what is still there must not be forgotten
            raise DestinationError(f"Pinecone refuses to delete the record {identifier} from {index} ({words}).")
        return result

    return _Job(index, work, ids)


def _encoded(feature: DesiredFeature, record: DesiredRecord) -> EncodedRecord:
    return encode_record(feature.record_id, record.dense, record.sparse, feature.metadata)


def _keys(features: Iterable[DesiredFeature]) -> dict[str, FeatureKey]:
    return {feature.record_id: feature.key for feature in features}
