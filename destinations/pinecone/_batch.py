"""One batch on its way into Pinecone: each plan goes to all of its indexes at once, and the next is made meanwhile."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from vectorferry.connector.plugin import (
    Batch,
    CancellableCall,
    DestinationError,
    Distrusted,
    SchemaMapping,
    check_cancelled,
    is_cancelled,
)
from vectorferry.destinations._postgres import FeatureKey, mark_kept, unread_assets
from vectorferry.destinations.pinecone._bodies import EncodedRecord, encode_record
from vectorferry.destinations.pinecone._catalogue import Catalogue
from vectorferry.destinations.pinecone._ids import record_id
from vectorferry.destinations.pinecone._last_good import EarlierParts
from vectorferry.destinations.pinecone._layout import Layout
from vectorferry.destinations.pinecone._manifest import Manifest
from vectorferry.destinations.pinecone._manifest_tables import Held, ManifestRows, Place
from vectorferry.destinations.pinecone._plan import Plan, plan_stale, plan_writes
from vectorferry.destinations.pinecone._wanted import Wanted, WantedFeature, with_fitting_vectors
from vectorferry.destinations.pinecone._writer import IndexWriter, Sent

__all__ = ["BatchWrite", "Flight", "Sending"]


_GLANCE_SECONDS: Final = 0.1


_JOBS_AT_ONCE: Final = 4
"""Each holds some encoded records, those that wait hold none yet. (With 32 of these threads, and 64 that send, a sync
of 40,000 × 1024-d took 365 MB instead of 172: malloc keeps something back for each thread.)"""


@dataclass(slots=True)
class Written:
    """The highest write per index, by the store's own numbers, and the records it refused, with its words."""

    lsns: dict[str, int] = field(default_factory=dict)
    refused: dict[Place, str] = field(default_factory=dict)

    def add(self, job: _Job, sent: Sent) -> None:
        """Take in what one index answered."""
        self.lsns[job.index] = max(self.lsns.get(job.index, 0), sent.lsn)
        self.refused |= {Place(*job.keys[each], job.index): words for each, words in sent.refused.items()}


class Sending:
    """Writes to the indexes of one project. `writer_of` gives the writer of an index."""

    def __init__(self, writer_of: Callable[[str], IndexWriter]) -> None:
        self._writer_of = writer_of
        self._threads = ThreadPoolExecutor(_JOBS_AT_ONCE, thread_name_prefix="pinecone-index")

    @contextmanager
    def flight(self, namespace: str) -> Iterator[Flight]:
        """Writes to this namespace, which have all ended when the block has, come what may."""
        flight = Flight(self._threads, self._writer_of, namespace)
        try:
            yield flight
        finally:
            flight.end()

    def close(self) -> None:
        """Release the threads."""
        self._threads.shutdown()


class Flight:
    """Plans that are being carried out in one namespace, while the next one is made."""

    def __init__(self, threads: Executor, writer_of: Callable[[str], IndexWriter], namespace: str) -> None:
        self._threads = threads
        self._writer_of = writer_of
        self._namespace = namespace
        self._under_way: list[tuple[_Job, Future[Sent]]] = []
        self._calls: list[CancellableCall[Sent]] = []

    def write(self, plan: Plan) -> None:
        """Begin to upsert and update what the plan says."""
        self._begin(_upsert(index, features) for index, features in plan.upserts.items())
        self._begin(_update(index, features) for index, features in plan.updates.items())

    def delete(self, plan: Plan) -> None:
        """Begin to delete what the plan says."""
        self._begin(_delete(index, keys) for index, keys in plan.deletes.items())

    def landed(self) -> Written:
        """What every index has answered, once all of them have. Raises the first error."""
        self.end()
        written = Written()
        for job, future in self._under_way:
            written.add(job, future.result())
        self._under_way.clear()
        self._calls.clear()
        return written

    def end(self) -> None:
        """Wait until nothing is under way; when the call on this thread is cancelled, so is what is."""
        while wait(futures := [future for _, future in self._under_way], timeout=_GLANCE_SECONDS).not_done:
            if is_cancelled():
                self._cancel(futures)
                check_cancelled()

    def _cancel(self, futures: Sequence[Future[Sent]]) -> None:
        for call in self._calls:
            call.cancel()
        with ExitStack() as aborted:
            for index in {job.index for job, _ in self._under_way}:
                aborted.enter_context(self._writer_of(index).aborting())
            wait([future for future in futures if not future.cancel()])

    def _begin(self, jobs: Iterable[_Job]) -> None:
        for job in jobs:
            writer = self._writer_of(job.index)
            call = CancellableCall(partial(job.work, writer, self._namespace))
            self._calls.append(call)
            self._under_way.append((job, self._threads.submit(call)))


@dataclass(frozen=True, slots=True)
class _Job:
    """What one index is sent, and the features by record id."""

    index: str
    work: Callable[[IndexWriter, str], Sent]
    keys: Mapping[str, FeatureKey]


def _upsert(index: str, features: Sequence[WantedFeature]) -> _Job:
    def work(writer: IndexWriter, namespace: str) -> Sent:
        return writer.upsert(namespace, (_encoded(one, index) for one in features))

    return _Job(index, work, _keys(features))


def _update(index: str, features: Sequence[WantedFeature]) -> _Job:
    def work(writer: IndexWriter, namespace: str) -> Sent:
        return writer.update(namespace, ((record_id(*one.key), one.metadata) for one in features))

    return _Job(index, work, _keys(features))


def _delete(index: str, keys: Sequence[FeatureKey]) -> _Job:
    ids = {record_id(*key): key for key in keys}

    def work(writer: IndexWriter, namespace: str) -> Sent:
        sent = writer.delete(namespace, ids)
        for identifier, words in sent.refused.items():  # what is still there must not be forgotten
            raise DestinationError(f"Pinecone refuses to delete the record {identifier} from {index} ({words}).")
        return sent

    return _Job(index, work, ids)


def _keys(features: Iterable[WantedFeature]) -> dict[str, FeatureKey]:
    return {record_id(*one.key): one.key for one in features}


def _encoded(one: WantedFeature, index: str) -> EncodedRecord:
    record = one.records[index]
    return encode_record(record_id(*one.key), record.dense, record.sparse, one.metadata)


# One batch on its way into Pinecone.
#
# Features are laid out in groups, and a group is written while the next one is laid out: otherwise the store would wait
# for us after each batch, and we for the store (measured: 20,000 × 1024-d in a tenth less time).


_GROUP_BYTES: Final = 2_000_000
"""Of vectors; some 500 features of 1024 dimensions."""


class BatchWrite:
    """Brings the store to what a batch wants. `wanted` and `held` say afterwards what was written, and what was there.

    Before anything is touched it is in the manifest's journal; the manifest itself is left to the caller.
    """

    def __init__(
        self,
        batch: Batch,
        layout: Layout,
        mapping: SchemaMapping,
        manifest: Manifest,
        catalogue: Catalogue,
        distrusted: Distrusted,
    ) -> None:
        self._batch = batch
        self._layout = layout
        self._mapping = mapping
        self._manifest = manifest
        self._catalogue = catalogue
        self._earlier = EarlierParts(manifest, catalogue, layout, mapping, batch.collection, distrusted)
        self._updated: Counter[str] = Counter()
        self.held = self._read_held()
        self._uncertain = {place.key for place in self.held.unconfirmed}
        self.wanted = Wanted(self._fitting(batch))

    def carry_out(self, sending: Sending) -> Mapping[str, int]:
        """Write, then delete. The highest sequence number of each index that was touched."""
        with sending.flight(self._layout.namespace_of(self._batch.collection)) as flight:
            self._take_back(self.wanted.assets)
            for group in self._groups():
                self._write(group, flight)
            written = flight.landed()
            lsns = [written.lsns, self._write_around(written.refused, flight) if written.refused else {}]
            self.wanted.keep(self.held)
            self._begin(plan_stale(self.wanted, self.held), flight.delete)
            lsns.append(flight.landed().lsns)
        return {index: max(each.get(index, 0) for each in lsns) for index in set().union(*lsns)}

    def rows(self) -> ManifestRows:
        """What the manifest should hold now."""
        return self.wanted.rows(self._uncertain)

    def _fitting(self, batch: Batch) -> Batch:
        if unread := unread_assets(batch):
            batch = mark_kept(batch, self._manifest.held(batch.collection, unread).assets)
        return replace(batch, assets=tuple(with_fitting_vectors(asset, self._layout) for asset in batch.assets))

    def _take_back(self, asset_ids: Iterable[str]) -> None:
        """Join to these assets what the store has of what was set aside."""
        assets = [asset for asset_id in asset_ids if (asset := self.wanted.assets[asset_id]).rejected]
        for asset in self._earlier.joined(assets, self.held):
            self.wanted.assets[asset.asset_id] = asset
        self.wanted.columns |= self._earlier.columns

    def _groups(self) -> Iterator[list[WantedFeature]]:
        group: list[WantedFeature] = []
        size = 0
        for asset_id in self.wanted.assets:
            more = self.wanted.add(asset_id, self._layout, self._mapping)
            group += more
            size += sum(one.vector_bytes for one in more)
            if size >= _GROUP_BYTES:
                yield group
                group, size = [], 0
        yield group

    def _write(self, group: Sequence[WantedFeature], flight: Flight) -> None:
        self._find_indexes(group)
        plan = plan_writes(group, self.held, self._updated)
        self._updated.update({index: len(features) for index, features in plan.updates.items()})
        self._begin(plan, flight.write)

    def _find_indexes(self, group: Sequence[WantedFeature]) -> None:
        if self._catalogue.ensure({record.spec for one in group for record in one.records.values()}):
            self.held = self._read_held()

    def _read_held(self) -> Held:
        return self._manifest.held(self._batch.collection, [asset.asset_id for asset in self._batch.assets])

    def _write_around(self, refused: Mapping[Place, str], flight: Flight) -> Mapping[str, int]:
        """Set aside what the store refused: of a feature with other records only the vectors of these, in whose place
        their earlier versions are written with what is new of the rest. What is refused again is given up."""
        by_feature: dict[FeatureKey, dict[Place, str]] = defaultdict(dict)
        for place, words in refused.items():
            by_feature[place.key][place] = words
        whole = {key for key, places in by_feature.items() if len(places) == len(self.wanted.features[key].records)}
        self.wanted.set_aside_features({key: min(by_feature[key].values()) for key in sorted(whole)})
        parts = {place: words for place, words in sorted(refused.items()) if place.key not in whole}
        self.wanted.set_aside_vectors(parts, self._layout)
        features: dict[str, set[str]] = defaultdict(set)
        for place in parts:
            features[place.asset_id].add(place.feature_id)
        self._take_back(features)
        again = [
            one
            for asset_id, only in features.items()
            for one in self.wanted.add(asset_id, self._layout, self._mapping, only)
        ]
        self._write(again, flight)
        written = flight.landed()
        self.wanted.give_up([*written.refused], self._layout)
        return written.lsns

    def _begin(self, plan: Plan, carry_out: Callable[[Plan], None]) -> None:
        self._manifest.begin(self._batch.collection, plan.places)
        carry_out(plan)
