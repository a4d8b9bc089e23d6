"""The pgvector destination: connects the parts to the protocol, and lets no database error out raw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from connector import (
    Applied,
    Batch,
    Delivery,
    DestinationError,
    IndexBuild,
    Known,
    LoadedAsset,
    Planned,
    Reason,
    Rejected,
    SchemaMapping,
    SearchAnswer,
    SearchQuery,
    Status,
)

from .._postgres import (
    PostgresServer,
    count_rejected,
    delete_assets,
    delete_rejected,
    driver_of,
    held_asset_ids,
    known_assets,
    read_rejected,
)
from ._bisect import write_around
from ._database import VectorDatabase
from ._indexes import build_due_indexes
from ._planned import SchemaOutlook, nothing_yet
from ._rows import batch_rows, first_layouts
from ._search import search
from ._status import read_status
from ._stored import stored_assets, stored_collections
from ._tables import SyncSchema
from ._writer import remove_assets, write_batch

__all__ = ["PgvectorDestination"]


class PgvectorDestination:
    """One schema of one Postgres. Implements `connector.Destination`, `connector.StoredAssets` and
    `connector.Quarantined`.

    Args:
        schema: where this sync's tables live; made when missing.
        url: the database's address; None starts the embedded Postgres in `directory`.
        directory: the data directory of the embedded Postgres.
        name: the label in logs and summaries.
        index_memory_mb: the most memory one index build may ask for.
    """

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
        self._index_memory_mb = index_memory_mb
        self._schema: SyncSchema | None = None

    @property
    def name(self) -> str:
        """The label in logs and summaries."""
        return self._name

    @property
    def location(self) -> str:
        """Which server is meant, without secrets."""
        return self._server.location

    def prepare(self, mapping: SchemaMapping) -> None:
        """Make the schema and its tables, or extend them to the mapping."""
        with self._server.translated():
            schema = SyncSchema(self._server.database, self._schema_name, mapping)
            schema.prepare()
            self._schema = schema

    def known(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Known]:
        """The ledger's entries for those of these assets that it has."""
        schema = self._prepared()
        with self._server.translated(), schema.database.transaction() as connection:
            return known_assets(connection, schema.tables.ledger, collection, asset_ids)

    def apply(self, batch: Batch) -> Applied:
        """Write one batch in one transaction; tables for new named vectors are made before it. A record that Postgres
        refuses is set aside, and so are those that do not fit their tables."""
        schema = self._prepared()
        with self._server.translated():
            schema.ensure_vectors(first_layouts(batch, schema.mapping))
            return write_around(schema.database.transaction, partial(_write, schema), batch)

    def asset_ids(self, collection: str) -> Iterator[str]:
        """Every asset of a collection in the ledger or the quarantine, streamed."""
        schema = self._prepared()
        with self._server.translated(), schema.database.transaction() as connection:
            yield from held_asset_ids(connection, (schema.tables.ledger, schema.tables.quarantine), collection)

    def remove(self, collection: str, asset_ids: Sequence[str]) -> Applied:
        """Remove assets with everything that belongs to them, in one transaction."""
        schema = self._prepared()
        with self._server.translated(), schema.database.transaction() as connection:
            return remove_assets(connection, schema, collection, asset_ids)

    def build_indexes(self) -> Sequence[IndexBuild]:
        """Build the vector indexes that are due."""
        schema = self._prepared()
        with self._server.translated():
            return list(build_due_indexes(schema, self._index_memory_mb))

    def delivered(self, wait: float = 0) -> Delivery:  # noqa: ARG002
        """Nothing is metered, and a commit is seen at once."""
        return Delivery()

    def quarantined(self, collection: str) -> int:
        """How many records of a collection are in quarantine."""
        schema = self._prepared()
        with self._server.translated(), schema.database.transaction() as connection:
            return count_rejected(connection, schema.tables.quarantine, collection)

    def rejected(self, collection: str | None = None) -> Iterator[tuple[str, Rejected, datetime]]:
        """Every record in quarantine, of one collection or of all, streamed."""
        schema = self._loaded()
        with self._server.translated(), schema.database.transaction() as connection:
            yield from read_rejected(connection, schema.tables.quarantine, collection)

    def forget_rejected(self, collection: str, asset_ids: Sequence[str], reason: Reason | None = None) -> int:
        """Drop records of these assets, and nothing else."""
        schema = self._loaded()
        with self._server.translated(), schema.database.transaction() as connection:
            return delete_rejected(connection, schema.tables.quarantine, collection, asset_ids, reason)

    def read_again(self, collection: str, asset_ids: Sequence[str]) -> int:
        """Forget the ledger's entries of these assets; their rows stay until they have been read."""
        schema = self._loaded()
        with self._server.translated(), schema.database.transaction() as connection:
            return delete_assets(connection, schema.tables.ledger, collection, asset_ids)

    def stored_collections(self) -> Sequence[str]:
        """The collections that the schema holds assets of."""
        schema = self._prepared()
        with self._server.translated(), schema.database.transaction() as connection:
            return stored_collections(connection, schema)

    def stored(self, collection: str, asset_ids: Sequence[str]) -> Iterator[LoadedAsset]:
        """These assets with all their features and vectors, streamed from one snapshot in the order of their ids.

        Vectors are float32, as exact as their column stores them: ``halfvec`` is less precise than the source was.
        """
        schema = self._prepared()
        with self._server.translated():
            yield from stored_assets(schema, collection, asset_ids)

    def planned(self, mapping: SchemaMapping) -> Planned:
        """What a sync would find, make and change here, looked up where Postgres refuses every write."""
        if self._server.has_never_run:
            return nothing_yet(self._schema_name, mapping)
        with self._server.translated():
            schema = SyncSchema(self._server.database, self._schema_name, mapping)
        return SchemaOutlook(self._server, schema, self._index_memory_mb).planned()

    def status(self) -> Status:
        """What the schema holds now."""
        schema = self._loaded()
        with self._server.translated(), schema.database.transaction() as connection:
            return read_status(connection, schema, self.name, f"{self.location}, schema {self._schema_name}")

    def search(self, query: SearchQuery) -> SearchAnswer:
        """Answer a similarity query through the SQL function that anyone else would use."""
        schema = self._loaded()
        with self._server.translated(), schema.database.transaction() as connection:
            return search(driver_of(connection), schema.name, schema.catalogue, query)

    def close(self) -> None:
        """Close the connections, and let go of the embedded Postgres."""
        self._server.close()
        self._schema = None

    def _prepared(self) -> SyncSchema:
        if self._schema is None:
            raise DestinationError("the pgvector destination was used before `prepare`; call prepare(mapping) first")
        return self._schema

    def _loaded(self) -> SyncSchema:
        """The schema as it is now, for those who only look: others may have added to it since this was prepared."""
        if self._server.has_never_run:
            raise DestinationError(f"nothing has been synced yet ({self.location}); run `vectorferry sync` first")
        schema = SyncSchema(self._server.database, self._schema_name, SchemaMapping())
        with self._server.translated():
            if not schema.exists():
                raise DestinationError(
                    f"nothing has been synced into schema {self._schema_name} at {self.location} yet; "
                    "run `vectorferry sync` first"
                )
            schema.load()
        return schema


def _write(schema: SyncSchema, connection: Connection, batch: Batch) -> Applied:
    return write_batch(connection, schema, batch, batch_rows(batch, schema.catalogue, schema.mapping))
