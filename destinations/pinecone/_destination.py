"""The Pinecone destination: connects the parts to the protocol.

What is in Pinecone is recorded in a manifest in Postgres. The order of things is what makes a killed run harmless:
first the journal (what is about to be touched), then Pinecone (whole records and metadata, then deletes), and once all
of it is acknowledged, the manifest. What a killed run had touched is in the journal, and is written or deleted again.
(The manifest's rows are sent to Postgres before that, in a transaction that is committed afterwards, or not at all.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from vectorferry.connector.plugin import (
    Allowance,
    Applied,
    Batch,
    Capability,
    Contents,
    Cursor,
    Delivery,
    Destination,
    DestinationError,
    DigestKind,
    Discrepancy,
    Distrusted,
    Fence,
    IndexBuild,
    Known,
    Modality,
    Origin,
    Planned,
    Reason,
    RecordedRun,
    Rejected,
    RowCounts,
    SchemaMapping,
    SearchAnswer,
    SearchQuery,
    SecurityCheck,
    ShardBook,
    SliceSums,
    Status,
    StoredDigest,
    TableStatus,
    VectorCount,
    VectorferryError,
    VectorKind,
    Visibility,
)
from vectorferry.destinations.pinecone._batch import JOBS_AT_ONCE, BatchWrite, Dispatch
from vectorferry.destinations.pinecone._catalogue import Catalogue, check_names
from vectorferry.destinations.pinecone._layout import Layout
from vectorferry.destinations.pinecone._manifest import Manifest
from vectorferry.destinations.pinecone._manifest_rows import count_vectors
from vectorferry.destinations.pinecone._manifest_tables import IndexRow, NamespaceRow, Place
from vectorferry.destinations.pinecone._plan import plan_sync
from vectorferry.destinations.pinecone._project import Project, ProjectSettings
from vectorferry.destinations.pinecone._reader import visibility_of, wait_until_visible
from vectorferry.destinations.pinecone._search import Searcher, index_for
from vectorferry.destinations.pinecone._verify import (
    digest_sums,
    find_discrepancies,
    places_of,
    read_digests,
    unrecorded_collections,
)
from vectorferry.destinations.pinecone._write_plan import count_removed, plan_removal

SECONDS_TO_BE_LISTED: Final = 10.0
"""Namespaces come with their first record. Nothing is said of how soon lists show one; this is plenty."""


CONSOLE: Final = "https://app.pinecone.io/organizations/-/projects/-/indexes/"
"""Its web pages take - for the organization and project that one is in."""


class PineconeDestination(Destination):
    """The indexes of one sync in one Pinecone project.

    Args:
        project: which project, and how it is written.
        layout: which index and namespace everything goes to.
        manifest: the record of what is there.
        name: the label in logs and summaries.
    """

    capabilities = frozenset(
        {
            Capability.ALLOWANCE,
            Capability.CONTENTS,
            Capability.CURSORS,
            Capability.LOCK,
            Capability.ORIGINS,
            Capability.PLAN,
            Capability.QUARANTINE,
            Capability.RUNS,
            Capability.SECURITY,
            Capability.SHARDS,
            Capability.STORED_COLLECTIONS,
            Capability.VERIFY,
        }
    )

    def __init__(self, project: ProjectSettings, layout: Layout, manifest: Manifest, name: str = "pinecone") -> None:
        self._name = name
        self._settings = project
        self._layout = layout
        self._manifest = manifest
        self._mapping = SchemaMapping()
        self._digest = ""
        self._distrusted = Distrusted()
        self._opened: _Opened | None = None
        self._touched: set[tuple[str, str]] = set()
        """Index and namespace of everything that was written since this was opened."""
        self._unrecorded: dict[str, dict[Place, Modality]] = {}
        """By collection: the records that were touched and are not recorded yet, nor doubted."""

    @property
    def name(self) -> str:
        """The label in logs and summaries."""
        return self._name

    def advice(self) -> Sequence[str]:
        """Parameters of the manifest's address that are not used, and names of vectors that none has."""
        absent = self._layout.vectors - self._prepared.catalogue.vector_names - {*self._layout.hybrid.values()}
        unused = (f"`vectors` names {name}, and no feature has had a vector of this name" for name in sorted(absent))
        return [*self._manifest.advice(), *unused]

    def prepare(self, mapping: SchemaMapping) -> None:
        """Bring manifest and project into agreement about which indexes there are. Missing ones are made when the first
        vector for them arrives."""
        self._layout.check(mapping)
        self._mapping, self._digest = mapping, self._layout.digest(mapping)
        opened = self._open()
        catalogue, listing = opened.catalogue, opened.project.begin_listing()  # while Postgres makes the tables
        self._manifest.prepare()
        self._manifest.keep_settings(self._layout.fixed)
        catalogue.reconcile(listing)
        check_names(catalogue.rows.values(), self._layout.keeps)
        self._layout.check_any(mapping, catalogue.vector_names)

    def known(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Known]:
        """The ledger's entries for those of these assets that it has, and that no killed run has touched since."""
        return self._manifest.known(collection, asset_ids, self._digest)

    def apply(self, batch: Batch) -> Applied:
        """Write one batch: journal, Pinecone, manifest."""
        opened = self._prepared
        if batch.fences:
            self.catch_up()
        with self._touching(batch.collection, batch.fences) as touched:
            arguments = (self._layout, self._mapping, self._manifest, opened.catalogue, self._distrusted)
            return self._apply(batch, BatchWrite(batch, *arguments, touched))

    def asset_ids(self, collection: str) -> Iterator[str]:
        """Every asset of a collection in the manifest, its journal or the quarantine, streamed."""
        return self._manifest.asset_ids(collection)

    def stored_collections(self) -> Sequence[str]:
        """The collections that Pinecone has records of, as the manifest says."""
        return self._manifest.collections()

    def remove(self, collection: str, asset_ids: Sequence[str]) -> Applied:
        """Delete every record of these assets, then forget them."""
        with self._touching(collection) as touched:
            return self._remove(collection, asset_ids, touched)

    def build_indexes(self) -> Sequence[IndexBuild]:
        """Pinecone builds its own."""
        return []

    def delivered(self, wait: float = 0) -> Delivery:
        """Requests, bytes and estimated write units so far; and the namespaces that were written, with those that an
        earlier run has written and that no query is known to have seen."""
        delivery = self._prepared.project.usage.delivery()
        rows = [row for row in self._manifest.namespaces() if row.visible < row.lsn or self._has_touched(row)]
        delivery.places.extend(self._seen(rows, wait) if wait > 0 else map(visibility_of, rows))
        return delivery

    def quarantined(self, collection: str) -> int:
        """How many records of a collection are in quarantine."""
        return self._manifest.quarantined(collection)

    def rejected(self, collection: str | None = None) -> Iterator[tuple[str, Rejected, datetime]]:
        """Every record in quarantine, of one collection or of all, streamed."""
        self._check_synced()
        return self._manifest.rejected(collection)

    def forget_rejected(self, collection: str, asset_ids: Sequence[str], reason: Reason | None = None) -> int:
        """Drop records of these assets from the manifest; nothing is asked of Pinecone."""
        self._check_synced()
        return self._manifest.forget_rejected(collection, asset_ids, reason)

    def read_again(self, collection: str, asset_ids: Sequence[str], *, in_run: bool = False) -> int:
        """Forget the fingerprints of these assets; their records stay as they are until they have been read."""
        self._check_synced()
        return self._manifest.read_again(collection, asset_ids, in_run=in_run)

    def cursor(self, collection: str) -> Cursor | None:
        """How far the changes of a collection have been followed."""
        return self._manifest.cursor(collection, self._digest)

    def record_cursor(self, collection: str, cursor: Cursor | None, before: Cursor | None = None) -> None:
        """Keep it in the manifest; None: forget it."""
        self._manifest.record_cursor(collection, cursor, self._digest, before)

    def origin(self, collection: str) -> Origin | None:
        """Who a collection was read as when it was last complete."""
        return self._manifest.origin(collection)

    def record_origin(self, collection: str, origin: Origin | None) -> None:
        """Keep it in the manifest; None: forget it."""
        self._manifest.record_origin(collection, origin)

    def record_runs(self, runs: Sequence[RecordedRun]) -> None:
        """Keep them in the manifest's Postgres, a hundred of each collection."""
        self._manifest.record_runs(runs)

    def runs(
        self, since: datetime | None = None, limit: int = 1_000, collection: str | None = None
    ) -> Sequence[RecordedRun]:
        """What was kept there."""
        self._check_synced()
        return self._manifest.runs(since, limit, collection)

    def allowance(self) -> Allowance:
        """In the manifest's Postgres."""
        return self._manifest.allowance

    def reading_allowance(self) -> Allowance | None:
        """The same, where this user may write there."""
        return self._manifest.allowance if self._manifest.allowance.is_writable() else None

    @contextmanager
    def lock(self, collection: str, wait: float = 0) -> Iterator[None]:
        """Keep other syncs with this manifest out of a collection, by a lock in the manifest's Postgres."""
        with self._manifest.lock(collection, wait):
            if self._opened is not None:
                self._manifest.end_shared_runs(collection)
            yield

    def shard_book(self) -> ShardBook:
        """In the manifest's Postgres."""
        return self._manifest.shard_book()

    def catch_up(self) -> None:
        """Read again which indexes there are."""
        self._prepared.catalogue.reread()

    def planned(self, mapping: SchemaMapping) -> Planned:
        """What a sync would find and make. Pinecone is asked for its indexes only, and nothing is written anywhere."""
        return plan_sync(self._settings, self._layout, self._manifest, mapping)

    def discrepancies(self, collection: str, sample: int | None = None) -> Iterator[Discrepancy]:
        """Records that are not as the manifest says. All ids are listed; records are fetched for the sample only."""
        return find_discrepancies(self._manifest, self._prepared.catalogue, self._layout, collection, sample)

    def unrecorded_collections(self) -> dict[str, list[str]]:
        """Of each namespace that no collection of the manifest has, the first records are read."""
        return unrecorded_collections(self._manifest, self._prepared.catalogue, self._layout)

    def digests(self, collection: str, asset_ids: Sequence[str] | None = None) -> Iterator[StoredDigest]:
        """The manifest's hashes; nothing is asked of Pinecone."""
        return read_digests(self._manifest, self._layout, collection, asset_ids)

    def digest_sums(self, collection: str, slices: int) -> SliceSums[DigestKind]:
        """The manifest's hashes, added up by its Postgres; nothing is asked of Pinecone."""
        return digest_sums(self._manifest, self._layout, collection, slices)

    def slice_assets(self, collection: str, slices: Set[int]) -> list[str]:
        """Looked up in the manifest."""
        return self._manifest.slice_assets(collection, slices)

    def contents(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Contents]:
        """What the manifest names. Of records with two vectors that is only the dense one."""
        indexes = self._manifest.indexes()
        contents: dict[str, dict[Modality, dict[str, dict[str, int | None]]]] = {}
        for (asset_id, feature_id), recorded in self._manifest.features(collection, asset_ids):
            rows = [indexes[name] for name in recorded.records if name in indexes]
            named = {row.vector_name: row.dimension for row in rows}
            contents.setdefault(asset_id, {}).setdefault(recorded.modality, {})[feature_id] = named
        return contents

    def content_counts(self, collection: str) -> RowCounts:
        """What the manifest names, counted there."""
        indexes, counts = self._manifest.indexes(), Counter[tuple[Modality, str | None]]()
        for (modality, index), records in self._manifest.record_counts(collection).items():
            if index is None or index in indexes:
                counts[modality, indexes[index].vector_name if index else None] += records
        return counts

    def distrust(self, collection: str, discrepancies: Iterable[Discrepancy]) -> None:
        """Enter these records into the journal, as if a run that was killed had touched them; their assets are read
        again, and so are those of which no single record is named."""
        different = list(discrepancies)
        self._distrusted.add(collection, different)
        self._manifest.begin(collection, places_of(self._manifest, collection, different))
        self._manifest.read_again(collection, sorted({each.asset_id for each in different if each.vector_name is None}))

    def security(self) -> SecurityCheck:
        """What other roles may do with the manifest; Pinecone has no roles."""
        return self._manifest.security()

    def vector_kinds(self) -> list[VectorKind]:
        """One for each index, which holds the vectors of all modalities."""
        return [(None, row.vector_name, row.dimension) for row in self._manifest.indexes().values()]

    def vector_counts(self, vector_names: Collection[str]) -> list[VectorCount]:
        """Counted in the manifest, where a named vector has indexes of several dimensions."""
        return count_vectors(self._manifest.indexes().values(), vector_names, self._manifest.counts)

    def status(self) -> Status:
        """What is in Pinecone, as the manifest says."""
        self._check_synced()
        counts = self._manifest.counts()
        indexes = self._manifest.indexes().values()
        return Status(
            destination=self.name,
            location=f"{self._settings.host}, manifest in {self._manifest.location}",
            assets=counts.assets,
            tables=[self._table(row, counts.records.get(row.name, {})) for row in indexes],
            quarantined=counts.quarantined,
            last_change=counts.last_change,
        )

    def _table(self, row: IndexRow, collections: dict[str, int]) -> TableStatus:
        details = {
            "index": row.name,
            "namespace": self._layout.namespace,
            "storage": "sparse" if row.dimension is None else f"dense({row.dimension})",
            "metric": row.metric,
            "dimension": row.dimension,
            "host": row.host,
            **({"console": f"{CONSOLE}{row.name}"} if row.host.endswith(".pinecone.io") else {}),
        }
        rows, uri = sum(collections.values()), f"pinecone://{row.name}"
        return TableStatus(row.name, None, row.vector_name, rows, collections, details, uri)

    def search(self, query: SearchQuery) -> SearchAnswer:
        """Ask every namespace of the index that holds the query's named vector."""
        self._check_synced()
        catalogue = self._open().catalogue
        catalogue.reread()
        row = index_for(query, catalogue.rows.values(), self._manifest)
        return Searcher(self._manifest, row, catalogue.reader(row.name)).search(query)

    def close(self) -> None:
        """Release every connection and thread."""
        if self._opened is not None:
            self._opened.threads.shutdown()
            self._opened.project.close()
            self._opened = None
        self._manifest.close()

    def _apply(self, batch: Batch, write: BatchWrite) -> Applied:
        opened = self._prepared
        lsns = write.carry_out(opened.threads)
        namespace = self._layout.namespace_of(batch.collection)
        self._touched |= {(index, namespace) for index in lsns}
        self._manifest.confirm(batch.collection, write.rows, lsns, namespace)
        self._distrusted.forget(batch.collection, (asset.asset_id for asset in batch.assets))
        return write.applied

    @contextmanager
    def _touching(self, collection: str, fences: Sequence[Fence] = ()) -> Iterator[dict[Place, Modality]]:
        """Write records, alone, and enter there which.

        Requests have no fences. Whoever goes on after another one has taken over, or while the manifest's Postgres is
        away and has forgotten who is alone, may overwrite what others write meanwhile: it finds out when it comes to
        the manifest, and enters its records into the journal again, so that the next run writes them anew. Where
        Postgres is away then too, it does so before anything else when it is tried again.
        """
        self._doubt(collection)
        touched = self._unrecorded[collection] = {}
        try:
            with self._manifest.alone(collection, fences):
                yield touched
        except VectorferryError:
            self._doubt(collection)
            raise
        del self._unrecorded[collection]

    def _doubt(self, collection: str) -> None:
        self._manifest.doubt(collection, self._unrecorded.get(collection, {}))
        self._unrecorded.pop(collection, None)

    def _remove(self, collection: str, asset_ids: Sequence[str], touched: dict[Place, Modality]) -> Applied:
        recorded, opened = self._manifest.recorded(collection, asset_ids), self._prepared
        plan = plan_removal(recorded)
        self._manifest.begin(collection, plan.places)
        touched |= plan.places
        namespace = self._layout.namespace_of(collection)
        with Dispatch(opened.threads, opened.catalogue.writer, namespace) as dispatch:
            dispatch.delete(plan)
            lsns = dispatch.results().lsns
        self._touched |= {(index, namespace) for index in lsns}
        self._manifest.remove(collection, asset_ids, lsns, namespace)
        return count_removed(recorded, opened.catalogue.vector_of)

    def _seen(self, rows: Sequence[NamespaceRow], seconds: float) -> Iterator[Visibility]:
        """How far queries see each. A namespace that an earlier run has written and that is not there any more never
        shows anything: it is waited for no longer than a new one may take to be listed, and then forgotten."""
        unlisted = self._unlisted(rows)
        listed = [row for row in rows if row not in unlisted]
        for group, longest in ((unlisted, min(SECONDS_TO_BE_LISTED, seconds)), (listed, seconds)):
            reader = self._prepared.catalogue.reader
            seen = wait_until_visible([(row, reader(row.index)) for row in group], longest)
            for row, visible in zip(group, seen, strict=True):
                if not visible and row in unlisted and self._unlisted([row]):
                    self._manifest.forget_namespace(row)
                    continue
                self._manifest.note_visible(row, visible or 0)
                yield visibility_of(replace(row, visible=visible or 0))

    def _unlisted(self, rows: Sequence[NamespaceRow]) -> list[NamespaceRow]:
        """Those of namespaces that are not there, and that this run has not written to."""
        reader = self._prepared.catalogue.reader
        listed = {index: reader(index).namespaces() for index in {row.index for row in rows}}
        return [row for row in rows if row.namespace not in listed[row.index] and not self._has_touched(row)]

    def _has_touched(self, row: NamespaceRow) -> bool:
        return (row.index, row.namespace) in self._touched

    def _open(self) -> _Opened:
        if self._opened is None:
            project = Project(self._settings, self._manifest.allowance)
            catalogue = Catalogue(self._manifest, project, self._layout)
            threads = ThreadPoolExecutor(JOBS_AT_ONCE, thread_name_prefix="pinecone-index")
            self._opened = _Opened(project, catalogue, threads)
        return self._opened

    @property
    def _prepared(self) -> _Opened:
        if self._opened is None:
            raise DestinationError("the Pinecone destination was used before `prepare`; call prepare(mapping) first")
        return self._opened

    def _check_synced(self) -> None:
        if not self._manifest.exists():
            raise DestinationError(
                f"nothing has been synced into Pinecone yet: there is no manifest at {self._manifest.location}; "
                "run `vectorferry sync` first"
            )


@dataclass(frozen=True, slots=True)
class _Opened:
    """Connections to Pinecone, and what is known about its indexes."""

    project: Project
    catalogue: Catalogue
    threads: ThreadPoolExecutor
