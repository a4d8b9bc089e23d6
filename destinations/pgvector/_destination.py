"""The pgvector destination: connects the parts to the protocol, and lets no database error out raw."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from vectorferry.connector.plugin import (
    MODALITIES,
    Allowance,
    Applied,
    Batch,
    Capability,
    Contents,
    Counts,
    Cursor,
    Destination,
    DestinationError,
    Diagnosis,
    DigestKind,
    Discrepancy,
    Distrusted,
    IndexBuild,
    IndexProgress,
    Known,
    LockedError,
    MappedAsset,
    Modality,
    Origin,
    Planned,
    Reason,
    RecordedRun,
    Rejected,
    RelatedRow,
    RelatedTable,
    RowCounts,
    SchemaDescription,
    SchemaMapping,
    SearchAnswer,
    SearchQuery,
    SecurityCheck,
    SliceSums,
    SqlResult,
    Status,
    StoredDigest,
    VectorCount,
    VectorIndex,
    VectorKind,
    VectorTable,
)
from vectorferry.destinations._postgres import (
    ROWS_AT_ONCE,
    CollectionLock,
    Driver,
    PostgresAllowance,
    PostgresServer,
    PostgresShardBook,
    begin_now,
    check_functions,
    check_security,
    collection_lock,
    collections_of,
    count_rejected,
    cursor_in,
    cursor_of,
    delete_rejected,
    driver_of,
    end_shared_runs,
    fenced,
    forget_cursors,
    forget_fingerprints,
    known_assets,
    locked_transaction,
    origin_in,
    origin_of,
    read_cursor,
    read_origin,
    read_rejected,
    read_runs,
    recorded_asset_ids,
    void_cursor,
    write_cursor,
    write_origin,
    write_runs,
)
from vectorferry.destinations.pgvector._bisect import write_around
from vectorferry.destinations.pgvector._database import VectorDatabase
from vectorferry.destinations.pgvector._diagnosis import disk_diagnoses, server_diagnoses
from vectorferry.destinations.pgvector._functions import function_names
from vectorferry.destinations.pgvector._generations import (
    count_vectors,
    drop_tables,
    list_tables,
    switch_views,
    vector_kind,
)
from vectorferry.destinations.pgvector._indexes import (
    HeldUpError,
    analyze,
    build_indexes,
    build_lookups,
    count_changes_at_once,
    look_for_due,
)
from vectorferry.destinations.pgvector._measures import Measuring, VectorMeasures
from vectorferry.destinations.pgvector._planned import SchemaOutlook, not_indexed, nothing_yet
from vectorferry.destinations.pgvector._prepare import ensure_vectors, prepare
from vectorferry.destinations.pgvector._rebuild import index_progress, list_indexes, rebuild_indexes
from vectorferry.destinations.pgvector._related import related_hashes, replace_rows
from vectorferry.destinations.pgvector._rows import (
    BatchRows,
    asset_contents,
    batch_rows,
    count_contents,
    new_storages,
    recorded_contents,
    with_fitting_vectors,
)
from vectorferry.destinations.pgvector._schema import SyncSchema
from vectorferry.destinations.pgvector._search import search
from vectorferry.destinations.pgvector._session import describe, environment, first_rows, run_sql, search_path
from vectorferry.destinations.pgvector._slices import SliceReader
from vectorferry.destinations.pgvector._stored import (
    read_status,
    sample_rows,
    snapshot,
    stored_assets,
    stored_collections,
    with_stored_versions,
)
from vectorferry.destinations.pgvector._tables import SyncTables
from vectorferry.destinations.pgvector._verify import find_discrepancies, read_digests, unrecorded_collections
from vectorferry.destinations.pgvector._writer import remove_assets, tombstone_assets, write_batch


@dataclass(frozen=True, slots=True)
class _Books:
    """What the books say of a collection: how far its changes have been followed, and who read it. And which
    collections there are."""

    cursor: Cursor | None
    origin: Origin | None
    collections: Sequence[str]


class PgvectorDestination(Destination):
    """One schema of one Postgres.

    Args:
        schema: where this sync's tables live; made when missing.
        url: the database's address; None starts the embedded Postgres in `directory`.
        directory: the data directory of the embedded Postgres.
        name: the label in logs and summaries.
        index_memory_mb: the most memory one index build may ask for.
    """

    capabilities = frozenset(
        {
            Capability.ALLOWANCE,
            Capability.CONTENTS,
            Capability.CURSORS,
            Capability.INDEXES,
            Capability.LOCK,
            Capability.ORIGINS,
            Capability.PLAN,
            Capability.QUARANTINE,
            Capability.RELATED_TABLES,
            Capability.RUNS,
            Capability.SECURITY,
            Capability.SHARDS,
            Capability.SQL,
            Capability.STORED_ASSETS,
            Capability.STORED_COLLECTIONS,
            Capability.TOMBSTONES,
            Capability.VECTOR_TABLES,
            Capability.VERIFY,
        }
    )

    def __init__(
        self,
        schema: str,
        url: str | None = None,
        name: str = "pgvector",
        directory: Path = Path(".vectorferry/postgres"),
        index_memory_mb: int = 1024,
    ) -> None:
        self._name = name
        self._schema_name = schema
        self._server = PostgresServer(url, directory, VectorDatabase, "the `url` of a pgvector destination")
        self._allowance = PostgresAllowance(self._server, schema)
        self._index_memory_mb = index_memory_mb
        self._schema: SyncSchema | None = None
        self._distrusted = Distrusted()
        self._locks: dict[str, CollectionLock] = {}
        """By collection: what others are kept out by."""
        self._books: dict[str, _Books] = {}
        """By collection that is locked, what was read as it was: until something of it is written, nobody else does."""
        self._postponed = ""
        """Which index could not be built, and why."""

    @property
    def name(self) -> str:
        """The label in logs and summaries."""
        return self._name

    @property
    def location(self) -> str:
        """Which server is meant, without secrets."""
        return self._server.location

    def place(self) -> str:
        """Database and schema."""
        return f"schema {self._schema_name} of the {self._server.identity()}"

    @contextmanager
    def connection(self) -> Iterator[Driver]:
        """A psycopg connection to the database, in a transaction that is committed at the end of the block. It may be
        used before anything is prepared."""
        with self._server.translated(), self._server.database.plain_transaction() as connection:
            begin_now(driver := driver_of(connection))
            yield driver

    def advice(self) -> Sequence[str]:
        """Parameters of the address that are not used, indexes that cannot be built, or could not be this time, and
        that limits were not shared."""
        schema = self._prepared()
        postponed, shared = [self._postponed] if self._postponed else [], self._allowance.advice()
        return [*schema.database.advice(), *not_indexed(schema.catalogue, schema.mapping), *postponed, *shared]

    def prepare(self, mapping: SchemaMapping) -> None:
        """Make the schema and its tables, or extend them to the mapping."""
        with self._server.translated():
            schema = SyncSchema(self._server.database, self._schema_name, mapping)
            prepare(schema)
            self._schema = schema

    def known(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Known]:
        """The ledger's entries for those of these assets that it has."""
        with self._asking() as (connection, schema):
            known = known_assets(connection, schema.tables.ledger, collection, asset_ids)
        distrusted = self._distrusted.assets(collection)
        return {name: each for name, each in known.items() if name not in distrusted} if distrusted else known

    def apply(self, batch: Batch) -> Applied:
        """Write one batch in one transaction; tables for new named vectors are made before it. A record that Postgres
        refuses is set aside, and so are those that do not fit their tables."""
        schema = self._prepared()
        self._books.pop(batch.collection, None)
        begin = partial(fenced, partial(self._begun, schema, batch.collection), schema.tables.sharing, batch)
        with self._server.translated():
            rows = batch_rows(batch)
            ensure_vectors(schema, new_storages(batch, rows.vectors.keys(), schema.catalogue, schema.mapping), begin)
            write = partial(_write, schema, self._distrusted, rows)
            applied = write_around(begin, write, batch)
        self._distrusted.forget(batch.collection, (asset.asset_id for asset in batch.assets))
        return applied

    def asset_ids(self, collection: str) -> Iterator[str]:
        """Every asset of a collection in the ledger or the quarantine, and those that are distrusted; page by page."""
        schema = self._prepared()
        books = (schema.tables.ledger, schema.tables.quarantine)
        unlisted = set(self._distrusted.assets(collection))
        begin = partial(schema.database.transaction, is_whole=True)
        with self._server.translated():
            for asset_id in recorded_asset_ids(begin, books, collection):
                unlisted.discard(asset_id)
                yield asset_id
        yield from sorted(unlisted)

    def remove(self, collection: str, asset_ids: Sequence[str]) -> Applied:
        """Remove assets with everything that belongs to them, in one transaction."""
        self._books.pop(collection, None)
        with self._writing(collection) as (connection, schema):
            applied = remove_assets(connection, schema, collection, asset_ids)
            count_changes_at_once(connection)
        self._distrusted.forget(collection, asset_ids)
        return applied

    def tombstone(self, collection: str, asset_ids: Sequence[str]) -> Applied:
        """Hide assets with their features, in one transaction; their vectors stay as they are."""
        self._books.pop(collection, None)
        with self._writing(collection) as (connection, schema):
            applied = tombstone_assets(connection, schema, collection, asset_ids)
            count_changes_at_once(connection)
        self._distrusted.forget(collection, asset_ids)
        return applied

    def build_indexes(self) -> Sequence[IndexBuild]:
        """Build the indexes that are due, have Postgres look at what has changed much, and let views show the newer
        vectors that have become complete. Returns what was built of vectors. What somebody's old transaction holds up
        is left to the next run, and `advice` says so."""
        schema = self._prepared()
        built: list[IndexBuild] = []
        self._postponed = ""
        with self._server.translated():
            due = look_for_due(schema)
            try:
                if due.lookups:
                    build_lookups(schema)
                built.extend(build_indexes(schema, due.indexes, self._index_memory_mb))  # what is built stays
            except HeldUpError as error:
                self._postponed = str(error)
            if due.changed:
                analyze(schema, due.changed)
            switch_views(schema)
        return built

    def quarantined(self, collection: str) -> int:
        """How many records of a collection are in quarantine."""
        with self._asking() as (connection, schema):
            return count_rejected(connection, schema.tables.quarantine, collection)

    def rejected(self, collection: str | None = None) -> Iterator[tuple[str, Rejected, datetime]]:
        """Every record in quarantine, of one collection or of all, streamed."""
        with self._reading() as (connection, schema):
            yield from read_rejected(connection, schema.tables.quarantine, collection)

    def forget_rejected(self, collection: str, asset_ids: Sequence[str], reason: Reason | None = None) -> int:
        """Drop records of these assets, and nothing else."""
        with self._reading() as (connection, schema):
            schema.check_owned(connection)
            return delete_rejected(connection, schema.tables.quarantine, collection, asset_ids, reason)

    def read_again(self, collection: str, asset_ids: Sequence[str], *, in_run: bool = False) -> int:
        """Forget the fingerprints of these assets; their rows stay as they are until they have been read."""
        self._books.pop(collection, None)
        forget = void_cursor if in_run else forget_cursors
        with self._reading() as (connection, schema):
            schema.check_owned(connection)
            forget(connection, schema.tables.cursors, collection)
            return forget_fingerprints(connection, schema.tables.ledger, collection, asset_ids)

    def cursor(self, collection: str) -> Cursor | None:
        """How far the changes of a collection have been followed."""
        if (books := self._books.get(collection)) is not None:
            return books.cursor
        with self._asking() as (connection, schema):
            return read_cursor(connection, schema.tables.cursors, collection)

    def record_cursor(self, collection: str, cursor: Cursor | None, before: Cursor | None = None) -> None:
        """Keep it in a row per collection; None: forget it."""
        if (books := self._books.get(collection)) is not None and books.cursor == cursor:
            return
        self._books.pop(collection, None)
        with self._writing(collection, is_whole=True) as (connection, schema):
            if cursor is None:
                forget_cursors(connection, schema.tables.cursors, collection)
            else:
                write_cursor(connection, schema.tables.cursors, collection, cursor, before=before)

    def origin(self, collection: str) -> Origin | None:
        """Who a collection was read as when it was last complete."""
        if (books := self._books.get(collection)) is not None:
            return books.origin
        with self._asking() as (connection, schema):
            return read_origin(connection, schema.tables.origins, collection)

    def record_origin(self, collection: str, origin: Origin | None) -> None:
        """Keep it in a row per collection; None: forget it."""
        if (books := self._books.get(collection)) is not None and books.origin == origin:
            return
        self._books.pop(collection, None)
        with self._writing(collection, is_whole=True) as (connection, schema):
            write_origin(connection, schema.tables.origins, collection, origin)

    def record_runs(self, runs: Sequence[RecordedRun]) -> None:
        """Keep them in a table, a hundred of each collection."""
        begin = self._asking if len(runs) <= ROWS_AT_ONCE else self._working
        with begin() as (connection, schema):
            write_runs(connection, schema.tables.runs, runs)

    def runs(
        self, since: datetime | None = None, limit: int = 1_000, collection: str | None = None
    ) -> Sequence[RecordedRun]:
        """What is in the table."""
        with self._reading() as (connection, schema):
            return read_runs(connection, schema.tables.runs, since, limit, collection)

    def allowance(self) -> Allowance:
        """In a table of the schema."""
        return self._allowance

    def reading_allowance(self) -> Allowance | None:
        """The same, where this user may write that table."""
        return self._allowance if self._allowance.is_writable() else None

    @contextmanager
    def lock(self, collection: str, wait: float = 0) -> Iterator[None]:
        """Keep other syncs into this schema out of a collection, by a lock that Postgres holds for this process."""
        place = ("pgvector", self._schema_name, collection)
        with self._server.translated(), collection_lock(self._server.database, place, wait) as held:
            self._locks[collection] = held
            try:
                if (schema := self._schema) is not None:
                    self._books[collection] = self._read_books(schema, collection)
                yield
            finally:
                del self._locks[collection]
                self._books.pop(collection, None)

    def _read_books(self, schema: SyncSchema, collection: str) -> _Books:
        """With the catalogue: another sync may have met new named vectors while this one waited."""
        tables = schema.tables
        asked = (
            tables.sharing.is_shared(collection),
            cursor_of(tables.cursors, collection),
            origin_of(tables.origins, collection),
            collections_of([tables.ledger, tables.quarantine]),
        )
        (is_shared,), *read = schema.catch_up(*asked)
        if is_shared[0]:
            end_shared_runs(partial(self._begun, schema, collection), tables.sharing, collection)
            _, *read = schema.catch_up(*asked)  # until then, its workers have gone on
        cursors, origins, collections = read
        return _Books(cursor_in(cursors), origin_in(origins), sorted(str(name) for (name,) in collections))

    def shard_book(self) -> PostgresShardBook:
        """In two tables of the schema."""
        return PostgresShardBook(self._server, SyncTables(self._schema_name).sharing, self._locks)

    def catch_up(self) -> None:
        """Read the catalogue again."""
        schema = self._prepared()
        with self._server.translated():
            schema.catch_up()

    def related_hashes(self, table: RelatedTable) -> Mapping[str, bytes]:
        """The hashes beside the rows."""
        with self._working() as (connection, schema):
            return related_hashes(connection, schema.tables, table)

    def replace_related(self, table: RelatedTable, rows: Sequence[RelatedRow], *, complete: bool) -> Counts:
        """Bring a table of metadata up to date in one transaction."""
        with self._working() as (connection, schema):
            return replace_rows(connection, schema, table, rows, complete=complete)

    def stored_collections(self) -> Sequence[str]:
        """The collections that the schema holds assets of; while one is locked, as of when nothing was written yet."""
        for books in self._books.values():
            return books.collections
        with self._asking() as (connection, schema):
            return stored_collections(connection, schema)

    def stored(self, collection: str, asset_ids: Sequence[str]) -> Iterator[MappedAsset]:
        """These assets with all their features and vectors, streamed from one snapshot in the order of their ids.

        Vectors are float32, as exact as their column stores them: ``halfvec`` is less precise than the source was.
        """
        schema = self._prepared()
        with self._server.translated():
            yield from stored_assets(schema, collection, asset_ids)

    def contents(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Contents]:
        """What the ledger names."""
        with self._asking() as (connection, schema):
            recorded = recorded_contents(connection, schema.tables.ledger, collection, asset_ids)
        return {asset_id: asset_contents(named) for asset_id, named in recorded.items()}

    def content_counts(self, collection: str) -> RowCounts:
        """What the ledger names, counted there."""
        with self._asking() as (connection, schema):
            return count_contents(connection, schema.tables.ledger, collection)

    def discrepancies(self, collection: str, sample: int | None = None) -> Iterator[Discrepancy]:
        """Rows that are not as the ledger and their hashes say, streamed from one snapshot.

        Where a column cannot hold a vector exactly (``halfvec``), it is compared with what the column held when it was
        written.
        """
        schema = self._prepared()
        with self._server.translated():
            yield from find_discrepancies(schema, collection, sample)

    def digests(self, collection: str, asset_ids: Sequence[str] | None = None) -> Iterator[StoredDigest]:
        """The hashes beside the rows, streamed from one snapshot."""
        schema = self._prepared()
        with self._server.translated():
            yield from read_digests(schema, collection, asset_ids)

    def digest_sums(self, collection: str, slices: int) -> SliceSums[DigestKind]:
        """The hashes beside the rows, added up by Postgres."""
        with self._slices(collection) as reader:
            return reader.digests(slices)

    def slice_assets(self, collection: str, slices: Set[int]) -> list[str]:
        """Looked up in every table."""
        with self._slices(collection) as reader:
            return reader.assets(slices)

    def unrecorded_collections(self) -> dict[str, list[str]]:
        """Looked up in the keys of the tables, past the rows of each collection."""
        schema = self._prepared()
        with self._server.translated():
            return unrecorded_collections(schema)

    def distrust(self, collection: str, discrepancies: Iterable[Discrepancy]) -> None:
        """Read these assets again, and write their different rows. Remembered by this object only."""
        self._distrusted.add(collection, discrepancies)
        self.record_cursor(collection, None)

    def security(self) -> SecurityCheck:
        """What other roles may do in the schema and beside pgvector."""
        return check_security(self._server, self._schema_name)

    def vector_tables(self) -> list[VectorTable]:
        """Each dimension of each named vector."""
        with self._reading() as (connection, schema):
            return list_tables(connection, schema)

    def vector_kinds(self) -> list[VectorKind]:
        """One for each generation."""
        catalogue = self._prepared().catalogue
        return [vector_kind(entry) for modality in MODALITIES for entry in catalogue.of(modality)]

    def vector_counts(self, vector_names: Collection[str]) -> list[VectorCount]:
        """Counted in the tables of each dimension."""
        with self._working() as (connection, schema):
            return count_vectors(connection, schema, vector_names)

    def drop_vector_tables(self, tables: Sequence[str]) -> list[VectorTable]:
        """Drop retired tables, and ones without a row, in one transaction."""
        with self._reading() as (connection, schema):
            schema.check_owned(connection)
            return drop_tables(connection, schema, tables)

    def describe(self) -> SchemaDescription:
        """As Postgres' catalogue has it, comments of somebody else's included."""
        with self._reading() as (connection, schema):
            return describe(connection, schema.name)

    @contextmanager
    def sql_environment(self) -> Iterator[Mapping[str, str]]:
        """An embedded server runs as long as the block lasts."""
        schema = self._loaded()
        with self._server.translated():
            path = search_path(schema.name, schema.database.extension_schema)
        yield environment(schema.database.address, path)

    def run_sql(self, statements: str) -> Iterator[SqlResult]:
        """On a connection of its own, with the server's settings but for the path."""
        schema = self._loaded()
        with self._server.translated(), schema.database.autocommit({"statement_timeout": "0"}) as connection:
            path = search_path(schema.name, schema.database.extension_schema)
            yield from run_sql(driver_of(connection), path, statements)

    def first_rows(self, limit: int, table: str | None = None) -> dict[str, SqlResult]:
        """Along the primary keys."""
        with self._reading() as (connection, schema):
            return first_rows(connection, schema, limit, table)

    def vector_indexes(self) -> list[VectorIndex]:
        """Looked up in Postgres' catalogue and statistics; rows are counted."""
        with self._reading() as (connection, schema):
            return list_indexes(connection, schema)

    def index_progress(self) -> dict[str, IndexProgress]:
        """As Postgres tells of each build."""
        with self._reading() as (connection, schema):
            return index_progress(connection, schema)

    def rebuild_indexes(self, names: Sequence[str]) -> Iterator[IndexBuild]:
        """Reindexed concurrently where they are whole, created where they are not."""
        schema = self._loaded()
        with self._server.translated():
            with schema.database.plain_transaction() as connection:
                schema.check_owned(connection)
            try:
                yield from rebuild_indexes(schema, names, self._index_memory_mb)
            except HeldUpError as error:
                raise LockedError(str(error)) from error

    def diagnose(self) -> Iterator[Diagnosis]:
        """Versions, size and free connections of the server, and the disk of an embedded one."""
        if self._server.directory is not None:
            yield from disk_diagnoses(self._server.directory)
        if self._server.has_never_run:
            return
        with self._server.translated(), self._server.database.plain_transaction() as connection:
            yield from server_diagnoses(connection)

    def planned(self, mapping: SchemaMapping) -> Planned:
        """What a sync would find, make and change here, looked up where Postgres refuses every write."""
        if self._server.has_never_run:
            return nothing_yet(self._schema_name, mapping)
        with self._server.translated():
            schema = SyncSchema(self._server.database, self._schema_name, mapping)
        return SchemaOutlook(self._server, schema, self._index_memory_mb).planned()

    def status(self) -> Status:
        """What the schema holds now."""
        with self._reading() as (connection, schema):
            status = read_status(connection, schema, self.name, f"{self.location}, schema {self._schema_name}")
        tables = [replace(table, uri=self._server.uri(self._schema_name, table.name)) for table in status.tables]
        return replace(status, tables=tables)

    def sample_rows(self, modality: Modality, collection: str, limit: int) -> list[Mapping[str, str]]:
        """The first features of a collection by id, every column as a text of at most 200 characters."""
        with self._working() as (connection, schema):
            return sample_rows(connection, schema, modality, collection, limit)

    def search(self, query: SearchQuery) -> SearchAnswer:
        """Answer a similarity query through the SQL function that anyone else would use."""
        with self._reading() as (connection, schema):
            functions = (entry.layer.function for entry in schema.catalogue.values())
            check_functions(connection, schema.name, [*function_names(), *functions])
            return search(driver_of(connection), schema.name, schema.catalogue, query)

    def measures(self, modality: Modality, *, sample: int = 10_000, queries: int = 0) -> list[VectorMeasures]:
        """What so many vectors of each dense name of a modality are like, and the share of true neighbours that so many
        searches find."""
        with self._reading() as (connection, schema):
            check_functions(connection, schema.name, (entry.layer.function for entry in schema.catalogue.values()))
            extension = schema.database.extension_schema
            measuring = Measuring(driver_of(connection), schema.name, extension, schema.catalogue)
            return list(measuring.measures(modality, sample, queries))

    def close(self) -> None:
        """Close the connections, and let go of the embedded Postgres."""
        self._server.close()
        self._schema = None

    @contextmanager
    def _slices(self, collection: str) -> Iterator[SliceReader]:
        schema = self._prepared()
        with self._server.translated(), snapshot(schema) as (connection, _):
            yield SliceReader(connection, schema, collection)

    def _begun(
        self, schema: SyncSchema, collection: str, *, is_whole: bool = False
    ) -> AbstractContextManager[Connection]:
        """A transaction that writes a collection: where it is locked, only as long as it is."""
        begin = partial(schema.database.transaction, is_whole=is_whole)
        return locked_transaction(begin, self._locks.get(collection), self.location)

    @contextmanager
    def _writing(self, collection: str, *, is_whole: bool = False) -> Iterator[tuple[Connection, SyncSchema]]:
        """The same, in the schema that was prepared."""
        schema = self._prepared()
        with self._server.translated(), self._begun(schema, collection, is_whole=is_whole) as connection:
            yield connection, schema

    @contextmanager
    def _working(self) -> Iterator[tuple[Connection, SyncSchema]]:
        """A transaction in the schema that was prepared."""
        schema = self._prepared()
        with self._server.translated(), schema.database.transaction() as connection:
            yield connection, schema

    @contextmanager
    def _asking(self) -> Iterator[tuple[Connection, SyncSchema]]:
        """One statement in the schema that was prepared, which takes one way to the server and back."""
        schema = self._prepared()
        with self._server.translated(), schema.database.transaction(is_whole=True) as connection:
            yield connection, schema

    @contextmanager
    def _reading(self) -> Iterator[tuple[Connection, SyncSchema]]:
        """A transaction in the schema as it is now, whether or not it was prepared."""
        schema = self._loaded()
        with self._server.translated(), schema.database.transaction() as connection:
            yield connection, schema

    def _prepared(self) -> SyncSchema:
        if self._schema is None:
            raise DestinationError("the pgvector destination was used before `prepare`; call prepare(mapping) first")
        return self._schema

    def _loaded(self) -> SyncSchema:
        """The schema as it is now, for those who only look: others may have added to it since this was prepared."""
        if self._server.has_never_run:
            raise DestinationError(f"nothing has been synced yet ({self.location}); run `vectorferry sync` first")
        schema = SyncSchema(self._server.database, self._schema_name, SchemaMapping())
        with self._server.translated(), schema.database.plain_transaction() as connection:
            if not schema.load(connection):
                raise DestinationError(
                    f"nothing has been synced into schema {self._schema_name} at {self.location} yet; "
                    "run `vectorferry sync` first"
                )
        return schema


def _write(
    schema: SyncSchema, distrusted: Distrusted, rows: BatchRows, connection: Connection, batch: Batch
) -> Applied:
    """Write a batch, or a part of one, of which all is laid out as `rows`."""
    count_changes_at_once(connection)
    if batch.fences:  # others may have made tables since, and whatever is stored of an asset is to be known
        schema.read_catalogue(connection)
    fitting = with_fitting_vectors(batch, rows.vectors.keys(), schema.catalogue, schema.mapping)
    whole = with_stored_versions(connection, schema, distrusted, fitting)
    return write_batch(connection, schema, distrusted, rows if whole is rows.batch else batch_rows(whole))
