"""The manifest: what is in Pinecone, recorded in Postgres after Pinecone has acknowledged it.

Pinecone cannot say cheaply what it holds, and has no transactions. So before records are touched they are entered as
unconfirmed, and struck out in the transaction that records what has become of them. A run that is killed in between
leaves them in the journal: records that may or may not be there, with unknown content.

That transaction may be filled while the last requests are under way; it is committed when all have been acknowledged.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, NestedTransaction, delete, func, inspect, select, true, update
from sqlalchemy.dialects.postgresql import insert

from vectorferry.connector.plugin import (
    Batch,
    ConfigurationError,
    Cursor,
    DestinationError,
    DigestKind,
    Fence,
    Known,
    Modality,
    Origin,
    Reason,
    RecordedRun,
    Rejected,
    SecurityCheck,
    SliceSums,
    sum_slices,
)
from vectorferry.destinations._postgres import (
    READ_ONLY,
    CollectionLock,
    Damage,
    Database,
    FeatureKey,
    PostgresAllowance,
    PostgresServer,
    PostgresShardBook,
    Relations,
    Step,
    assets_in,
    check_encoding,
    check_fences,
    check_layout,
    check_owned,
    check_security,
    collection_lock,
    count_rejected,
    damages_in,
    delete_assets,
    delete_rejected,
    end_shared_runs,
    explained_by,
    forget_cursors,
    forget_fingerprints,
    is_storable,
    known_assets,
    lock,
    lock_ddl,
    locked_transaction,
    name_worker,
    of_assets,
    printed,
    read_cursor,
    read_origin,
    read_rejected,
    read_runs,
    recorded_asset_ids,
    recorded_collections,
    replace_rejected,
    run,
    steps_to_create,
    stored_definitions,
    void_cursor,
    why_refused,
    write_cursor,
    write_origin,
    write_runs,
)
from vectorferry.destinations.pinecone._manifest_rows import (
    RecordCounts,
    advance,
    can_be_ours,
    certain_assets,
    count_records,
    forget_index,
    has_doubts,
    has_records_in,
    journal,
    of_namespace,
    read_counts,
    read_digest_sums,
    read_features,
    read_features_after,
    read_unconfirmed,
    strike_out,
    write_adopted,
    write_features,
    write_ledger,
)
from vectorferry.destinations.pinecone._manifest_tables import (
    IndexRow,
    ManifestCounts,
    ManifestRows,
    ManifestTables,
    NamespaceRow,
    Place,
    RecordedAssets,
    RecordedFeature,
)

_log = logging.getLogger("vectorferry")
_PAGE: Final = 1_000
"""Rows that are read at once for a check: no transaction waits for Pinecone."""


def wait_for_lock(connection: Connection, tables: ManifestTables, *what: str) -> None:
    """Wait until nobody else has this lock, and keep it until the transaction ends."""
    lock(connection, "manifest", tables.ledger.fullname, *what)


@dataclass(frozen=True, slots=True)
class ManifestOutlook:
    """What preparing a manifest would execute, and why it would be refused; `manifest` is what is there until then, for
    reading only, None when there is none that can be read."""

    manifest: Manifest | None
    statements: Sequence[str]
    refusal: str | None = None


class Manifest:
    """The manifest of one destination, in tables of its own in one schema of one Postgres. Used from one thread.

    Every method that asks Postgres raises `RetryableError` or `DestinationError` where Postgres fails.

    Args:
        schema: where its tables are; made when missing. A pgvector sync may live there too.
        name: the destination's label, which its tables are named after.
        url: the database's address; None starts the embedded Postgres in `directory`.
        directory: the data directory of the embedded Postgres.

    Raises:
        ConfigurationError: `url` is no database address.
    """

    def __init__(self, schema: str, name: str, url: str | None, directory: Path) -> None:
        self._schema = schema
        self._tables = ManifestTables(schema, name)
        self._server = PostgresServer(url, directory, Database, "the `url` of a Pinecone manifest")
        self.allowance = PostgresAllowance(self._server, schema)
        self._locks: dict[str, CollectionLock] = {}
        """By collection: what others are kept out by."""
        self._locked: Connection | None = None
        """The transaction that `alone` has begun."""
        self._read_only = False
        self._refusal: str | None = None

    @property
    def location(self) -> str:
        """Which Postgres is meant, without secrets."""
        return f"{self._server.location}, schema {self._schema}"

    def advice(self) -> Sequence[str]:
        """A sentence for each parameter of the address that is not used as it is given, and for what was not shared."""
        return [*self._server.database.advice(), *self.allowance.advice()]

    def security(self) -> SecurityCheck:
        """What other roles may do in its schema."""
        return check_security(self._server, self._schema)

    def exists(self) -> bool:
        """Whether it has ever been prepared. Makes nothing, and starts no embedded Postgres that is not there. Raises
        `ConfigurationError` for one of an early version."""
        if self._server.has_never_run:
            return False
        with self._transaction() as connection:
            self._check_layout(connection)
            return self._is_prepared(connection)

    def outlook(self) -> ManifestOutlook:
        """What is there, and what `prepare` would do. Writes nothing, and starts no embedded Postgres that is not
        there."""
        if self._server.has_never_run:
            return ManifestOutlook(None, printed(self._missing_steps(None)))
        present = copy(self)
        present._read_only = True
        with present._transaction() as connection:
            check_encoding(connection, self._server.location)
            present._refusal = self._why_refused(connection)
            manifest = present if self._is_prepared(connection) else None
            return ManifestOutlook(manifest, printed(self._missing_steps(*self._look_at(connection))), present._refusal)

    def prepare(self) -> None:
        """Make the schema and its tables. Writes nothing when none is missing; needs no pgvector."""
        with self._transaction() as connection:
            check_encoding(connection, self._server.location)
            if why := self._why_refused(connection):
                raise DestinationError(why)
            lock_ddl(connection, self._schema)
            relations, damaged = self._look_at(connection)
            run(connection, self._missing_steps(relations, damaged))
        for each in damaged:
            _log.warning("%s", each.note())

    def check_settings(self, values: Mapping[str, str]) -> None:
        """Raise `ConfigurationError` for a setting that is not what it was when records were written."""
        with self._transaction() as connection:
            self._kept_settings(connection, values)

    def keep_settings(self, values: Mapping[str, str]) -> None:
        """Keep settings that must not change once there are records. Raises what `check_settings` raises."""
        with self._transaction() as connection:
            lock_ddl(connection, self._schema)
            kept = self._kept_settings(connection, values)
            if new := [{"key": key, "value": values[key]} for key in sorted(values.keys() - kept.keys())]:
                connection.execute(insert(self._tables.settings).on_conflict_do_nothing(), new)

    @contextmanager
    def lock(self, collection: str, wait: float) -> Iterator[None]:
        """Keep other syncs that use this manifest out of a collection."""
        place = ("pinecone", self._tables.ledger.fullname, collection)
        with self._server.translated(), collection_lock(self._server.database, place, wait) as held:
            self._locks[collection] = held
            try:
                yield
            finally:
                del self._locks[collection]

    def shard_book(self) -> PostgresShardBook:
        """In two tables of its own."""
        return PostgresShardBook(self._server, self._tables.sharing, self._locks)

    def end_shared_runs(self, collection: str) -> None:
        """Let no worker of an earlier run write this collection any more."""
        end_shared_runs(partial(self._writing, collection), self._tables.sharing, collection)

    @contextmanager
    def alone(self, collection: str, fences: Sequence[Fence] = ()) -> Iterator[None]:
        """Let no other process write this collection meanwhile: each would record what the other one has overwritten.

        What `enter`, `confirm` and `remove` record in this block is kept when it ends, if the `fences` stand then. When
        Postgres has ended the transaction before, it is not, and the records that were touched stay unconfirmed.
        """
        with self._writing(collection) as connection:
            if fences:
                name_worker(connection, fences)
            wait_for_lock(connection, self._tables, f"collection {collection}")
            check_fences(connection, self._tables.sharing, collection, fences)
            self._locked = connection
            try:
                yield
                check_fences(connection, self._tables.sharing, collection, fences, until_commit=True)
            finally:
                self._locked = None

    @contextmanager
    def alone_with_indexes(self) -> Iterator[None]:
        """Let no other process make, look up or forget indexes meanwhile. Inside `alone`: until that ends, on its
        connection, which would only wait for another one."""
        with self._locked_transaction() as connection:
            wait_for_lock(connection, self._tables, "indexes")
            yield

    # A batch: what is recorded, the journal, and what has become of it.

    def recorded(self, collection: str, asset_ids: Sequence[str]) -> RecordedAssets:
        """What these assets have in the store, and what they may have there."""
        ledger = self._tables.ledger
        hashes = select(ledger.c.asset_id, ledger.c.row_hash).where(of_assets(ledger, collection, asset_ids))
        with self._transaction() as connection:
            return RecordedAssets(
                features=read_features(connection, self._tables.features, collection, asset_ids),
                assets={row.asset_id: row.row_hash for row in connection.execute(hashes)},
                unconfirmed=read_unconfirmed(connection, self._tables.unconfirmed, collection, asset_ids),
            )

    def begin(self, collection: str, places: Mapping[Place, Modality]) -> None:
        """Enter records as unconfirmed, each with its feature's modality, before they are touched."""
        if places:
            with self._writing(collection) as connection:
                journal(connection, self._tables.unconfirmed, collection, places)

    def doubt(self, collection: str, places: Mapping[Place, Modality]) -> None:
        """Enter records as unconfirmed that were touched and could not be recorded, after what others have confirmed
        meanwhile. Whoever has the lock by now; no list of changes would tell the next run of them."""
        if places:
            with self._transaction() as connection:
                wait_for_lock(connection, self._tables, f"collection {collection}")
                journal(connection, self._tables.unconfirmed, collection, places)
                void_cursor(connection, self._tables.cursors, collection)

    def enter(self, batch: Batch, rows: ManifestRows, rejected: Sequence[Rejected], layout: str) -> NestedTransaction:
        """Enter in the transaction of `alone` what `confirm` is going to make known, while the store is still at it.

        It is rolled back where the store refuses some of it. Until then, nothing may be begun, forgotten or adopted on
        another connection, which would wait for this one. The same again writes nothing.

        Args:
            batch: its assets are recorded, and its records struck out of the journal; of features, only those of its
                modalities are removed.
            rows: what the store will hold of them.
            rejected: everything that was set aside of these assets.
            layout: how features became records.
        """
        tables = self._tables
        with self._locked_transaction() as connection:
            entry = connection.begin_nested()
            write_features(connection, tables.features, batch, rows)
            write_ledger(connection, tables, batch, rows.per_asset, layout)
            replace_rejected(connection, tables.quarantine, batch, rejected)
            strike_out(connection, tables.unconfirmed, batch, rows.uncertain)
        return entry

    def confirm(self, collection: str, rows: ManifestRows, written: Mapping[str, int], namespace: str) -> None:
        """Record that the store has acknowledged a batch, when the transaction of `alone` ends: all or nothing.

        Args:
            collection: the batch's.
            rows: what was entered.
            written: by index, the highest sequence number that writing was answered with.
            namespace: the collection's, in every index.
        """
        indexes = {index: 0 for feature in rows.features.values() for index in feature.records}
        with self._locked_transaction() as connection:
            advance(connection, self._tables.namespaces, collection, namespace, {**indexes, **written})

    def remove(self, collection: str, asset_ids: Sequence[str], written: Mapping[str, int], namespace: str) -> None:
        """Forget assets whose records the store has deleted. The arguments are those of `confirm`."""
        tables = self._tables
        with self._locked_transaction() as connection:
            for table in (tables.features, tables.ledger, tables.quarantine, tables.unconfirmed):
                delete_assets(connection, table, collection, asset_ids)
            void_cursor(connection, tables.cursors, collection)
            advance(connection, tables.namespaces, collection, namespace, written)

    def adopt(self, collection: str, index: str, features: Mapping[FeatureKey, RecordedFeature]) -> None:
        """Enter records that were found in an index. Their assets will be read again; the same again changes nothing.

        A feature whose metadata differs from what is known of it counts as one of unknown metadata.
        """
        ours = {key: feature for key, feature in features.items() if can_be_ours(collection, key)}
        if ours:
            with self._transaction() as connection:
                write_adopted(connection, self._tables.features, collection, index, ours)
                asset_ids = sorted({asset_id for asset_id, _ in ours})
                delete_assets(connection, self._tables.ledger, collection, asset_ids)
                forget_cursors(connection, self._tables.cursors, collection)

    # The ledger, the quarantine and the other books.

    def known(
        self, collection: str, asset_ids: Sequence[str], layout: str, *, forgotten: Collection[str] = ()
    ) -> Mapping[str, Known]:
        """The ledger's entries for those of these assets that were written under this layout, and of which no record
        is unconfirmed, nor in one of the `forgotten` indexes."""
        others = [~has_records_in(self._tables, index) for index in forgotten]
        with self._transaction() as connection:
            return certain_assets(connection, self._tables, collection, asset_ids, layout, *others)

    def entries(
        self, collection: str, asset_ids: Sequence[str], *, forgotten: Collection[str] = ()
    ) -> Mapping[str, Known]:
        """All of the ledger's entries for these assets that have no record in one of the `forgotten` indexes."""
        others = [~has_records_in(self._tables, index) for index in forgotten]
        with self._transaction() as connection:
            return known_assets(connection, self._tables.ledger, collection, asset_ids, *others)

    def asset_ids(self, collection: str) -> Iterator[str]:
        """Every asset that has anything here, be it in the journal or the quarantine only; page by page."""
        yield from recorded_asset_ids(self._transaction, self._tables.naming_assets, collection)

    def collections(self) -> Sequence[str]:
        """Every collection that has anything here, sorted; that of a manifest made anew may be in no ledger yet."""
        with self._transaction() as connection:
            return recorded_collections(connection, self._tables.naming_assets)

    def quarantined(self, collection: str) -> int:
        """How many records of a collection are in quarantine."""
        with self._transaction() as connection:
            return count_rejected(connection, self._tables.quarantine, collection)

    def rejected(self, collection: str | None) -> Iterator[tuple[str, Rejected, datetime]]:
        """Every record in quarantine, of one collection or of all, streamed."""
        with self._transaction() as connection:
            yield from read_rejected(connection, self._tables.quarantine, collection)

    def forget_rejected(self, collection: str, asset_ids: Sequence[str], reason: Reason | None) -> int:
        """Drop the records of these assets, all or those of one reason; how many there were."""
        with self._transaction() as connection:
            self._check_owned(connection)
            return delete_rejected(connection, self._tables.quarantine, collection, asset_ids, reason)

    def read_again(self, collection: str, asset_ids: Sequence[str], *, in_run: bool = False) -> int:
        """Forget the fingerprints of these assets, so that the next sync reads them; how many there were."""
        forget = void_cursor if in_run else forget_cursors
        with self._transaction() as connection:
            self._check_owned(connection)
            forget(connection, self._tables.cursors, collection)
            return forget_fingerprints(connection, self._tables.ledger, collection, asset_ids)

    def cursor(self, collection: str, layout: str) -> Cursor | None:
        """How far the changes of a collection have been followed under this layout."""
        with self._transaction() as connection:
            return read_cursor(connection, self._tables.cursors, collection, layout)

    def record_cursor(self, collection: str, cursor: Cursor | None, layout: str, before: Cursor | None = None) -> None:
        """Keep it, unless others have meanwhile overwritten what this run wrote (`doubt`), with one `before` only where
        that is still there; None: forget it."""
        tables = self._tables
        with self._writing(collection) as connection:
            if cursor is not None:
                wait_for_lock(connection, tables, f"collection {collection}")  # nobody begins to doubt now
            # A void one is for no modality: what is in doubt by then, the run that enters it is about to settle.
            if cursor is None or has_doubts(connection, tables, collection, cursor.modalities):
                forget_cursors(connection, tables.cursors, collection)
            else:
                write_cursor(connection, tables.cursors, collection, cursor, layout, before)

    def origin(self, collection: str) -> Origin | None:
        """Who a collection was read as when it was last complete."""
        with self._transaction() as connection:
            return read_origin(connection, self._tables.origins, collection)

    def record_origin(self, collection: str, origin: Origin | None) -> None:
        """Keep it; None: forget it."""
        with self._writing(collection) as connection:
            write_origin(connection, self._tables.origins, collection, origin)

    def record_runs(self, runs: Sequence[RecordedRun]) -> None:
        """Keep what became of the collections of a run."""
        with self._transaction() as connection:
            write_runs(connection, self._tables.runs, runs)

    def runs(self, since: datetime | None, limit: int, collection: str | None) -> Sequence[RecordedRun]:
        """What was kept of a collection or of all: the newest first, or since a time the oldest first."""
        with self._transaction() as connection:
            return read_runs(connection, self._tables.runs, since, limit, collection)

    # Whole collections, for checks and counts.

    def features(
        self, collection: str, asset_ids: Sequence[str] | None = None
    ) -> Iterator[tuple[FeatureKey, RecordedFeature]]:
        """The features of these assets, or of all (None), by asset and feature, read a page at a time."""
        key = ("", "")
        while True:
            with self._transaction() as connection:
                page = read_features_after(connection, self._tables.features, collection, key, asset_ids, _PAGE)
            if not page:
                return
            yield from page.items()
            key = max(page)

    def assets(self, collection: str, asset_ids: Sequence[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """The row hashes of these assets, or of all (None), by id, read a page at a time."""
        ledger, last_id = self._tables.ledger, ""
        some = ledger.c.collection == collection if asset_ids is None else of_assets(ledger, collection, asset_ids)
        hashes = select(ledger.c.asset_id, ledger.c.row_hash).where(some).order_by(ledger.c.asset_id).limit(_PAGE)
        while True:
            with self._transaction() as connection:
                page = connection.execute(hashes.where(ledger.c.asset_id > last_id)).all()
            if not page:
                return
            yield from ((asset_id, bytes(row_hash)) for asset_id, row_hash in page)
            last_id = page[-1].asset_id

    def digest_sums(
        self, collection: str, slices: int, vector_names: Mapping[str, str], hashless: Container[str]
    ) -> SliceSums[DigestKind]:
        """The hashes of a collection summed up in so many slices, those of vectors by the names of these indexes;
        `hashless` are the names of vectors that have no hash of their own."""
        with self._transaction() as connection:
            sums = read_digest_sums(connection, self._tables, collection, slices, vector_names, hashless)
            return sum_slices((each.kind, each.number, each.sum) for each in sums)

    def slice_assets(self, collection: str, slices: Set[int]) -> list[str]:
        """The assets of some slices."""
        with self._transaction() as connection:
            return assets_in(connection, (self._tables.ledger, self._tables.features), collection, slices)

    def any_assets(self, collection: str, number: int) -> list[str]:
        """So many assets of the ledger, other ones each time."""
        ledger = self._tables.ledger
        names = select(ledger.c.asset_id).where(ledger.c.collection == collection)
        with self._transaction() as connection:
            return list(connection.execute(names.order_by(func.random()).limit(number)).scalars())

    def unconfirmed_keys(self, collection: str) -> set[FeatureKey]:
        """Every feature of a collection with a record in the journal: being written, or when a run was killed."""
        unconfirmed = self._tables.unconfirmed
        keys = select(unconfirmed.c.asset_id, unconfirmed.c.feature_id).where(unconfirmed.c.collection == collection)
        with self._transaction() as connection:
            return {(asset_id, feature_id) for asset_id, feature_id in connection.execute(keys)}

    def find(self, feature_id: str, modality: Modality) -> list[tuple[str, str]]:
        """Collection and asset of every feature of this id and modality."""
        if not is_storable(feature_id):
            return []
        features = self._tables.features
        owner = (features.c.collection, features.c.asset_id)
        same = (features.c.feature_id == feature_id, features.c.modality == modality.value)
        with self._transaction() as connection:
            rows = connection.execute(select(*owner).where(*same).order_by(*owner))
            return [(collection, asset_id) for collection, asset_id in rows]

    def record_counts(self, collection: str) -> RecordCounts:
        """How many features of a collection there are by modality, and how many records of them by index."""
        with self._transaction() as connection:
            return count_records(connection, self._tables.features, collection)

    def counts(self) -> ManifestCounts:
        """What there is, in numbers."""
        with self._transaction() as connection:
            return read_counts(connection, self._tables)

    # Indexes and namespaces.

    def indexes(self) -> Mapping[str, IndexRow]:
        """Every index that records were written to, by name."""
        indexes = self._tables.indexes
        with self._transaction() as connection:
            rows = connection.execute(select(indexes).order_by(indexes.c.name))
            return {row.name: IndexRow(*row) for row in rows}

    def indexes_of(self, modality: Modality) -> frozenset[str]:
        """The indexes that hold records of a modality."""
        features = self._tables.features
        names = select(func.jsonb_object_keys(features.c.records)).where(features.c.modality == modality.value)
        with self._transaction() as connection:
            return frozenset(connection.execute(names.distinct()).scalars())

    def put_index(self, row: IndexRow) -> None:
        """Enter an index, or correct its entry."""
        new = insert(self._tables.indexes).values(asdict(row))
        with self._transaction() as connection:
            connection.execute(new.on_conflict_do_update(index_elements=["name"], set_=asdict(row)))

    def forget_index(self, name: str) -> None:
        """Forget an index that is gone, with its records; assets that had some will be read again."""
        with self._transaction() as connection:
            forget_index(connection, self._tables, name)

    def namespaces(self) -> list[NamespaceRow]:
        """Every namespace that holds, or has held, records, by index and collection."""
        namespaces = self._tables.namespaces
        with self._transaction() as connection:
            rows = connection.execute(select(namespaces).order_by(namespaces.c.index_name, namespaces.c.collection))
            return [NamespaceRow(*row) for row in rows]

    def forget_namespace(self, row: NamespaceRow) -> None:
        """Forget how far a namespace was written that is gone, unless it was written further meanwhile; its records
        stay known, and are missed by a check."""
        namespaces = self._tables.namespaces
        with self._transaction() as connection:
            connection.execute(delete(namespaces).where(of_namespace(namespaces, row), namespaces.c.lsn == row.lsn))

    def note_visible(self, row: NamespaceRow, visible: int) -> None:
        """Note that a query has seen a namespace up to this sequence number."""
        namespaces = self._tables.namespaces
        further = update(namespaces).where(of_namespace(namespaces, row), namespaces.c.visible < visible)
        with self._transaction() as connection:
            connection.execute(further.values(visible=func.least(visible, row.lsn)))

    def close(self) -> None:
        """Close the connections, and let go of the embedded Postgres. Doing so again changes nothing."""
        self._server.close()

    def _is_prepared(self, connection: Connection) -> bool:
        return inspect(connection).has_table(self._tables.ledger.name, schema=self._schema)

    def _why_refused(self, connection: Connection) -> str | None:
        return why_refused(connection, self._schema, self._tables.metadata.tables.values(), self._server.location)

    def _look_at(self, connection: Connection) -> tuple[Relations, list[Damage]]:
        """What there is of the tables, and what somebody has taken away from them. Raises `ConfigurationError` for
        tables of an early version."""
        relations, layout = Relations(connection, self._schema), self._layout()
        (definitions,) = relations.read(layout, stored_definitions(self._schema, layout))
        relations.check_layout(layout)
        return relations, damages_in(definitions, self._tables.metadata.tables.values())

    def _missing_steps(self, relations: Relations | None, damaged: Sequence[Damage] = ()) -> list[Step]:
        """What makes the tables that are not there yet, none of which is without relations, and gives back to the
        others what somebody has taken away."""
        tables, steps = self._tables, list[Step]()
        steps += steps_to_create(relations, self._schema, tables.metadata)
        reread = [each.concerns(tables.ledger) for each in damaged if each.concerns_rows(tables.features)]
        lost = self._lost_books(relations)
        if tables.features.name in lost:
            reread = [true()]
        if reread:
            steps.append(update(tables.ledger).where(*reread).values(fingerprint=""))
        if reread or lost:
            steps.append(delete(tables.cursors))
        return [*steps, *(step for each in damaged for step in each.steps())]

    def _lost_books(self, relations: Relations | None) -> list[str]:
        """Those tables that say what is synced and that somebody has dropped, while others stayed."""
        if relations is None or self._tables.cursors.name not in relations.columns:
            return []
        books = (self._tables.ledger.name, self._tables.features.name)
        return [name for name in books if name not in relations.columns]

    def _check_owned(self, connection: Connection) -> None:
        check_owned(connection, self._schema, (table.name for table in self._tables.metadata.tables.values()))

    def _check_layout(self, connection: Connection) -> None:
        check_layout(connection, self._schema, self._layout())

    def _layout(self) -> Mapping[str, Iterable[str]]:
        return {table.name: table.columns.keys() for table in self._tables.metadata.tables.values()}

    def _kept_settings(self, connection: Connection, values: Mapping[str, str]) -> Mapping[str, str]:
        kept = {row.key: row.value for row in connection.execute(select(self._tables.settings))}
        for key, value in values.items():
            if kept.get(key, value) != value:
                raise ConfigurationError(
                    f"{key}: the records in Pinecone were written under {kept[key]!r}, not {value!r}, says the "
                    f"manifest in {self.location}. Set it back to {kept[key]!r}, or give the manifest another "
                    "`schema` to start anew."
                )
        return kept

    @contextmanager
    def _locked_transaction(self) -> Iterator[Connection]:
        """The transaction of `alone` that is under way, or one of its own."""
        if self._locked is None:
            with self._transaction() as connection:
                yield connection
        else:
            yield self._locked

    @contextmanager
    def _writing(self, collection: str) -> Iterator[Connection]:
        """A transaction that writes a collection: where it is locked, only as long as it is."""
        begin, held = self._server.database.plain_transaction, self._locks.get(collection)
        with self._server.translated(), locked_transaction(begin, held, self._server.location) as connection:
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._server.translated():
            database = self._server.database
            begun = database.plain_transaction(READ_ONLY if self._read_only else None)
            with begun as connection, explained_by(self._refusal):
                yield connection
