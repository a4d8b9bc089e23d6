"""The manifest: what is in Pinecone, recorded in Postgres after Pinecone has acknowledged it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, inspect, select

from vectorferry.connector.plugin import Batch, Cursor, Known, Modality, Origin, Reason, Rejected
from vectorferry.destinations._postgres import (
    Database,
    FeatureKey,
    PostgresServer,
    check_encoding,
    check_rights,
    collection_lock,
    count_rejected,
    delete_assets,
    delete_rejected,
    forget_cursors,
    forget_fingerprints,
    lock,
    lock_ddl,
    read_cursor,
    read_origin,
    read_rejected,
    recorded_asset_ids,
    recorded_collections,
    replace_rejected,
    run,
    write_cursor,
    write_origin,
)
from vectorferry.destinations.pinecone._manifest_rows import (
    RecordCounts,
    advance,
    any_assets,
    asset_hashes,
    assets_after,
    can_be_ours,
    certain_assets,
    confirm,
    count_records,
    features_after,
    forget_index,
    forget_namespace,
    is_storable,
    journal,
    note_visible,
    read_counts,
    read_features,
    read_indexes,
    read_indexes_of,
    read_namespaces,
    read_unconfirmed,
    record_settings,
    unconfirmed_keys,
    write_features,
    write_found,
    write_index,
    write_ledger,
)
from vectorferry.destinations.pinecone._manifest_tables import (
    Held,
    HeldFeature,
    IndexRow,
    ManifestCounts,
    ManifestRows,
    ManifestTables,
    NamespaceRow,
    Place,
)
from vectorferry.destinations.pinecone._planned_manifest import ManifestOutlook

__all__ = ["Manifest"]


# The manifest: what is in Pinecone, recorded in Postgres after Pinecone has acknowledged it.
#
# Pinecone cannot say cheaply what it holds, and has no transactions. So before records are touched they are entered as
# unconfirmed, and struck out in the transaction that records what has become of them. A run that is killed in between
# leaves them in the journal: records that may or may not be there, with unknown content.


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
        self._turn: Connection | None = None

    @property
    def location(self) -> str:
        """Which Postgres is meant, without secrets."""
        return f"{self._server.location}, schema {self._schema}"

    def advice(self) -> Sequence[str]:
        """A sentence for each parameter of the address that is not used as it is given."""
        return list(self._server.database.advice())

    def exists(self) -> bool:
        """Whether it has ever been prepared. Makes nothing, and starts no embedded Postgres that is not there. Raises
        `ConfigurationError` for one of an early version."""
        if self._server.has_never_run:
            return False
        with self._transaction() as connection:
            self._tables.check_layout(connection)
            return inspect(connection).has_table(self._tables.ledger.name, schema=self._schema)

    def outlook(self, settings: Mapping[str, str]) -> ManifestOutlook:
        """What is there, and what preparing it under these settings would make. Writes nothing, and starts no embedded
        Postgres that is not there."""
        return ManifestOutlook(self._server, self._tables, self._schema, settings)

    def prepare(self) -> None:
        """Make the schema and its tables. Writes nothing when none is missing; needs no pgvector."""
        with self._transaction() as connection:
            check_encoding(connection, self._server.location)
            check_rights(connection, self._schema, self._tables.metadata.tables.values(), self._server.location)
            lock_ddl(connection, self._schema)
            run(connection, self._tables.steps(connection))

    def check_settings(self, values: Mapping[str, str]) -> None:
        """Keep settings that must not change once there are records; raise `ConfigurationError` when one has."""
        with self._transaction() as connection:
            lock_ddl(connection, self._schema)
            record_settings(connection, self._tables, values, self.location)

    @contextmanager
    def alone(self, collection: str) -> Iterator[None]:
        """Let no other process write this collection meanwhile: each would record what the other one has overwritten.

        What `commit` and `remove` record in this block is kept when it ends. When Postgres has ended the turn before,
        it is not, and the records that were touched stay unconfirmed.
        """
        with self._transaction() as connection:
            lock(connection, "manifest", self._tables.ledger.fullname, "collection", collection)
            self._turn = connection
            try:
                yield
            finally:
                self._turn = None

    @contextmanager
    def alone_with_indexes(self) -> Iterator[None]:
        """Let no other process make, look up or forget indexes meanwhile. Inside a turn: until that ends, on its
        connection, which would only wait for another one."""
        with self._in_turn() as connection:
            lock(connection, "manifest", self._tables.ledger.fullname, "indexes")
            yield

    def known(self, collection: str, asset_ids: Sequence[str], layout: str) -> Mapping[str, Known]:
        """The ledger's entries for those of these assets that were written under this layout, and of which no record
        is unconfirmed."""
        with self._transaction() as connection:
            return certain_assets(connection, self._tables, collection, asset_ids, layout)

    def held(self, collection: str, asset_ids: Sequence[str]) -> Held:
        """What these assets have in the store, and what they may have there."""
        with self._transaction() as connection:
            return Held(
                features=read_features(connection, self._tables.features, collection, asset_ids),
                assets=asset_hashes(connection, self._tables, collection, asset_ids),
                unconfirmed=read_unconfirmed(connection, self._tables.unconfirmed, collection, asset_ids),
            )

    def begin(self, collection: str, places: Mapping[Place, Modality]) -> None:
        """Enter records as unconfirmed, each with its feature's modality, before they are touched."""
        if places:
            with self._transaction() as connection:
                journal(connection, self._tables.unconfirmed, collection, places)

    def commit(
        self,
        batch: Batch,
        rows: ManifestRows,
        rejected: Sequence[Rejected],
        layout: str,
        written: Mapping[str, int],
        namespace: str,
    ) -> None:
        """Record a batch that the store has acknowledged: all or nothing, and the same again writes nothing.

        Args:
            batch: its assets are recorded; of features, only those of its modalities are removed.
            rows: what the store holds of them now.
            rejected: everything that was set aside of these assets.
            layout: how features became records.
            written: by index, the highest sequence number that writing was answered with.
            namespace: the collection's, in every index.
        """
        tables = self._tables
        indexes = {index: 0 for one in rows.features.values() for index in one.records}
        with self._in_turn() as connection:
            write_features(connection, tables.features, batch, rows)
            write_ledger(connection, tables, batch, rows.per_asset, layout)
            replace_rejected(connection, tables.quarantine, batch, rejected)
            confirm(connection, tables.unconfirmed, batch, rows.uncertain)
            advance(connection, tables, batch.collection, namespace, {**indexes, **written})

    def remove(self, collection: str, asset_ids: Sequence[str], written: Mapping[str, int], namespace: str) -> None:
        """Forget assets whose records the store has deleted. The arguments are those of `commit`."""
        tables = self._tables
        with self._in_turn() as connection:
            for table in (tables.features, tables.ledger, tables.quarantine, tables.unconfirmed):
                delete_assets(connection, table, collection, asset_ids)
            forget_cursors(connection, tables.cursors, collection)
            advance(connection, tables, collection, namespace, written)

    def adopt(self, collection: str, index: str, features: Mapping[FeatureKey, HeldFeature]) -> None:
        """Enter records that were found in an index. Their assets will be read again; the same again changes nothing.

        A feature whose metadata differs from what is known of it counts as one of unknown metadata.
        """
        ours = {key: one for key, one in features.items() if can_be_ours(collection, key)}
        if ours:
            with self._transaction() as connection:
                write_found(connection, self._tables.features, collection, index, ours)
                asset_ids = sorted({asset_id for asset_id, _ in ours})
                delete_assets(connection, self._tables.ledger, collection, asset_ids)
                forget_cursors(connection, self._tables.cursors, collection)

    def asset_ids(self, collection: str) -> Iterator[str]:
        """Every asset that has anything here, be it in the journal or the quarantine only; streamed."""
        with self._transaction() as connection:
            yield from recorded_asset_ids(connection, self._tables.naming_assets, collection)

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
            return delete_rejected(connection, self._tables.quarantine, collection, asset_ids, reason)

    def read_again(self, collection: str, asset_ids: Sequence[str]) -> int:
        """Forget the fingerprints of these assets, so that the next sync reads them; how many there were."""
        with self._transaction() as connection:
            forget_cursors(connection, self._tables.cursors, collection)
            return forget_fingerprints(connection, self._tables.ledger, collection, asset_ids)

    def cursor(self, collection: str, layout: str) -> Cursor | None:
        """How far the changes of a collection have been followed under this layout."""
        with self._transaction() as connection:
            return read_cursor(connection, self._tables.cursors, collection, layout)

    def record_cursor(self, collection: str, cursor: Cursor | None, layout: str) -> None:
        """Keep it; None: forget it."""
        with self._transaction() as connection:
            if cursor is None:
                forget_cursors(connection, self._tables.cursors, collection)
            else:
                write_cursor(connection, self._tables.cursors, collection, cursor, layout)

    def origin(self, collection: str) -> Origin | None:
        """Who a collection was read as when it was last complete."""
        with self._transaction() as connection:
            return read_origin(connection, self._tables.origins, collection)

    def record_origin(self, collection: str, origin: Origin | None) -> None:
        """Keep it; None: forget it."""
        with self._transaction() as connection:
            write_origin(connection, self._tables.origins, collection, origin)

    @contextmanager
    def lock(self, collection: str, wait: float) -> Iterator[None]:
        """Keep other syncs that use this manifest out of a collection."""
        place = ("pinecone", self._tables.ledger.fullname, collection)
        with self._server.translated(), collection_lock(self._server.database, place, wait):
            yield

    def features(
        self, collection: str, asset_ids: Sequence[str] | None = None
    ) -> Iterator[tuple[FeatureKey, HeldFeature]]:
        """The features of these assets, or of all (None), by asset and feature, read a page at a time."""
        after = ("", "")
        while page := self._features_after(collection, after, asset_ids):
            yield from page.items()
            after = max(page)

    def assets(self, collection: str, asset_ids: Sequence[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """The row hashes of these assets, or of all (None), by id, read a page at a time."""
        after = ""
        while page := self._assets_after(collection, after, asset_ids):
            yield from page
            after = page[-1][0]

    def record_counts(self, collection: str) -> RecordCounts:
        """How many features of a collection there are by modality, and how many records of them by index."""
        with self._transaction() as connection:
            return count_records(connection, self._tables.features, collection)

    def unconfirmed_keys(self, collection: str) -> set[FeatureKey]:
        """Every feature of a collection with a record in the journal."""
        with self._transaction() as connection:
            return unconfirmed_keys(connection, self._tables, collection)

    def any_assets(self, collection: str, number: int) -> list[str]:
        """So many assets of the ledger, other ones each time."""
        with self._transaction() as connection:
            return any_assets(connection, self._tables, collection, number)

    def indexes(self) -> Mapping[str, IndexRow]:
        """Every index, by name."""
        with self._transaction() as connection:
            return read_indexes(connection, self._tables)

    def put_index(self, row: IndexRow) -> None:
        """Enter an index, or correct its entry."""
        with self._transaction() as connection:
            write_index(connection, self._tables, row)

    def forget_index(self, name: str) -> None:
        """Forget an index that is gone, with its records; assets that had some will be read again."""
        with self._transaction() as connection:
            forget_index(connection, self._tables, name)

    def namespaces(self) -> list[NamespaceRow]:
        """Every namespace, by index and collection."""
        with self._transaction() as connection:
            return read_namespaces(connection, self._tables)

    def forget_namespace(self, row: NamespaceRow) -> None:
        """Forget how far a namespace was written that is gone; its records stay known, and are missed by a check."""
        with self._transaction() as connection:
            forget_namespace(connection, self._tables, row)

    def note_visible(self, row: NamespaceRow, visible: int) -> None:
        """Note that a query has seen a namespace up to this sequence number."""
        with self._transaction() as connection:
            note_visible(connection, self._tables, row, visible)

    def find(self, feature_id: str, modality: Modality) -> list[tuple[str, str]]:
        """Collection and asset of every feature of this id and modality."""
        if not is_storable(feature_id):
            return []
        features = self._tables.features
        owner = (features.c.collection, features.c.asset_id)
        wanted = (features.c.feature_id == feature_id, features.c.modality == modality.value)
        with self._transaction() as connection:
            found = connection.execute(select(*owner).where(*wanted).order_by(*owner))
            return [(collection, asset_id) for collection, asset_id in found]

    def indexes_of(self, modality: Modality) -> frozenset[str]:
        """The indexes that hold records of a modality."""
        with self._transaction() as connection:
            return read_indexes_of(connection, self._tables.features, modality)

    def counts(self) -> ManifestCounts:
        """What there is, in numbers."""
        with self._transaction() as connection:
            return read_counts(connection, self._tables)

    def close(self) -> None:
        """Close the connections, and let go of the embedded Postgres. Doing so again changes nothing."""
        self._server.close()

    @contextmanager
    def _in_turn(self) -> Iterator[Connection]:
        """The transaction of the turn that is under way, or one of its own."""
        if self._turn is None:
            with self._transaction() as connection:
                yield connection
        else:
            yield self._turn

    def _features_after(
        self, collection: str, after: FeatureKey, asset_ids: Sequence[str] | None
    ) -> Mapping[FeatureKey, HeldFeature]:
        with self._transaction() as connection:
            return features_after(connection, self._tables, collection, after, asset_ids)

    def _assets_after(self, collection: str, after: str, asset_ids: Sequence[str] | None) -> list[tuple[str, bytes]]:
        with self._transaction() as connection:
            return assets_after(connection, self._tables, collection, after, asset_ids)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._server.translated(), self._server.database.plain_transaction() as connection:
            yield connection
