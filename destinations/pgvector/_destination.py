"""The pgvector destination: connects the parts to the protocol, and lets no database error out raw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from connector import (
    Applied,
    Batch,
    Delivery,
    DestinationError,
    IndexBuild,
    Known,
    SchemaMapping,
    SearchAnswer,
    SearchQuery,
    Status,
)

from .._embedded import EmbeddedPostgres
from ._database import Database, driver_of
from ._errors import translated
from ._indexes import build_due_indexes
from ._ledger import held_asset_ids, known_assets
from ._quarantine import count_rejected
from ._rows import batch_rows, first_layouts
from ._search import search
from ._status import read_status
from ._tables import SyncSchema
from ._url import parse_url, shown
from ._writer import remove_assets, write_batch

__all__ = ["PgvectorDestination"]


class PgvectorDestination:
    """One schema of one Postgres. Implements `connector.Destination`.

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
        self._url = parse_url(url) if url is not None else None
        self._directory = directory.absolute()
        self._index_memory_mb = index_memory_mb
        self._embedded: EmbeddedPostgres | None = None
        self._database: Database | None = None
        self._schema: SyncSchema | None = None

    @property
    def name(self) -> str:
        """The label in logs and summaries."""
        return self._name

    @property
    def location(self) -> str:
        """Which server is meant, without secrets."""
        return shown(self._url) if self._url is not None else f"embedded, in {self._directory}"

    def prepare(self, mapping: SchemaMapping) -> None:
        """Make the schema and its tables, or extend them to the mapping."""
        with self._translated():
            schema = SyncSchema(self._connected(), self._schema_name, mapping)
            schema.prepare()
            self._schema = schema

    def known(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Known]:
        """The ledger's entries for those of these assets that it has."""
        schema = self._prepared()
        with self._translated(), schema.database.transaction() as connection:
            return known_assets(connection, schema.tables.ledger, collection, asset_ids)

    def apply(self, batch: Batch) -> Applied:
        """Write one batch in one transaction; tables for new named vectors are made before it."""
        schema = self._prepared()
        with self._translated():
            schema.ensure_vectors(first_layouts(batch, schema.mapping))
            rows = batch_rows(batch, schema.catalogue, schema.mapping)
            with schema.database.transaction() as connection:
                return write_batch(connection, schema, batch, rows)

    def asset_ids(self, collection: str) -> Iterator[str]:
        """Every asset of a collection in the ledger or the quarantine, streamed."""
        schema = self._prepared()
        with self._translated(), schema.database.transaction() as connection:
            yield from held_asset_ids(connection, schema.tables, collection)

    def remove(self, collection: str, asset_ids: Sequence[str]) -> Applied:
        """Remove assets with everything that belongs to them, in one transaction."""
        schema = self._prepared()
        with self._translated(), schema.database.transaction() as connection:
            return remove_assets(connection, schema, collection, asset_ids)

    def build_indexes(self) -> Sequence[IndexBuild]:
        """Build the vector indexes that are due."""
        schema = self._prepared()
        with self._translated():
            return list(build_due_indexes(schema, self._index_memory_mb))

    def delivered(self, wait: float = 0) -> Delivery:  # noqa: ARG002
        """Nothing is metered, and a commit is seen at once."""
        return Delivery()

    def quarantined(self, collection: str) -> int:
        """How many records of a collection are in quarantine."""
        schema = self._prepared()
        with self._translated(), schema.database.transaction() as connection:
            return count_rejected(connection, schema.tables.quarantine, collection)

    def status(self) -> Status:
        """What the schema holds now."""
        schema = self._loaded()
        with self._translated(), schema.database.transaction() as connection:
            return read_status(connection, schema, self.name, f"{self.location}, schema {self._schema_name}")

    def search(self, query: SearchQuery) -> SearchAnswer:
        """Answer a similarity query through the SQL function that anyone else would use."""
        schema = self._loaded()
        with self._translated(), schema.database.transaction() as connection:
            return search(driver_of(connection), schema.name, schema.catalogue, query)

    def close(self) -> None:
        """Close the connections, and let go of the embedded Postgres."""
        if self._database is not None:
            self._database.close()
            self._database = None
        if self._embedded is not None:
            self._embedded.close()
            self._embedded = None
        self._schema = None

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self.location, lambda: self._database is not None and self._database.answered)

    def _connected(self) -> Database:
        if self._database is None:
            url = self._url
            if url is None:
                self._embedded = EmbeddedPostgres(self._directory)
                url = parse_url(self._embedded.url)
            self._database = Database(url, self.location)
        return self._database

    def _prepared(self) -> SyncSchema:
        if self._schema is None:
            raise DestinationError("the pgvector destination was used before `prepare`; call prepare(mapping) first")
        return self._schema

    def _loaded(self) -> SyncSchema:
        """The schema as it is, for those who only look."""
        if self._schema is not None:
            return self._schema
        if self._url is None and not self._directory.exists():
            raise DestinationError(
                f"nothing has been synced into {self._directory} yet; run `vectorferry sync` there first"
            )
        schema = SyncSchema(self._connected(), self._schema_name, SchemaMapping())
        with self._translated():
            if not schema.exists():
                raise DestinationError(
                    f"nothing has been synced into schema {self._schema_name} at {self.location} yet; "
                    "run `vectorferry sync` first"
                )
            schema.load()
        return schema
