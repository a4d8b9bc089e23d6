"""The manifest as preparing it would leave it: looked up in transactions that cannot write."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from sqlalchemy import Connection, func, inspect, select

from vectorferry.connector.plugin import Averages, Cursor, Known, Origin, VectorCount
from vectorferry.destinations.pinecone._manifest_rows import (
    certain_assets,
    check_settings,
    count_vectors,
    has_records_in,
    read_counts,
    read_indexes,
)
from vectorferry.destinations.pinecone._manifest_tables import IndexRow

from .._postgres import (
    Database,
    PostgresServer,
    check_encoding,
    explained_by,
    known_assets,
    printed,
    read_cursor,
    read_only,
    read_origin,
    recorded_asset_ids,
    recorded_collections,
    why_refused,
)
from ._manifest_tables import ManifestTables

__all__ = ["ManifestOutlook"]


class ManifestOutlook:
    """What is there and what is not. `statements` would make the rest; `averages` are None when there is no feature.

    Raises `ConfigurationError` when a setting is not what it was when the records were written.
    """

    def __init__(
        self, server: PostgresServer[Database], tables: ManifestTables, schema: str, settings: Mapping[str, str]
    ) -> None:
        self.exists = False
        self.refusal: str | None = None
        self.averages: Averages | None = None
        self.vector_names: frozenset[str] = frozenset()
        self.vector_counts: Sequence[VectorCount] = ()
        self._server = server
        self._tables = tables
        if server.has_never_run:
            self.statements = printed(tables.steps(None))
            return
        with self._looking() as connection:
            check_encoding(connection, server.location)
            self.refusal = why_refused(connection, schema, tables.metadata.tables.values(), server.location)
            self.statements = printed(tables.steps(connection))
            self.exists = inspect(connection).has_table(tables.ledger.name, schema=schema)
            if self.exists:
                with explained_by(self.refusal):
                    self._read(connection, f"{server.location}, schema {schema}", settings)

    def known(
        self, collection: str, asset_ids: Sequence[str], layout: str, forgotten: Collection[str]
    ) -> Mapping[str, Known]:
        """The ledger's entries, without fingerprints where they are not certain: of another layout, or touched by a run
        that was killed. `forgotten` are indexes that preparing forgets, with the entries of assets in them."""
        if not self.exists:
            return {}
        only = [~has_records_in(self._tables, name) for name in forgotten]
        with self._looking() as connection:
            known = known_assets(connection, self._tables.ledger, collection, asset_ids, *only)
            certain = certain_assets(connection, self._tables, collection, asset_ids, layout, *only)
        return {**{asset_id: replace(entry, fingerprint="") for asset_id, entry in known.items()}, **certain}

    def asset_ids(self, collection: str) -> Iterator[str]:
        """Every asset that has anything here, streamed."""
        if self.exists:
            with self._looking() as connection:
                yield from recorded_asset_ids(connection, self._tables.naming_assets, collection)

    def cursor(self, collection: str, layout: str) -> Cursor | None:
        """How far the changes of a collection have been followed under this layout."""
        if not self.exists:
            return None
        with self._looking() as connection:
            return read_cursor(connection, self._tables.cursors, collection, layout)

    def origin(self, collection: str) -> Origin | None:
        """Who a collection was read as when it was last complete."""
        if not self.exists:
            return None
        with self._looking() as connection:
            return read_origin(connection, self._tables.origins, collection)

    def collections(self) -> Sequence[str]:
        """Every collection that has assets here."""
        if not self.exists:
            return ()
        with self._looking() as connection:
            return recorded_collections(connection, self._tables.naming_assets)

    def _read(self, connection: Connection, place: str, settings: Mapping[str, str]) -> None:
        check_settings(connection, self._tables, settings, place)
        indexes = read_indexes(connection, self._tables)
        self.vector_names = frozenset(row.vector_name for row in indexes.values())
        self.averages = _averages(connection, self._tables, indexes)
        counted = partial(read_counts, connection, self._tables)
        self.vector_counts = count_vectors(indexes.values(), self.vector_names, counted)

    @contextmanager
    def _looking(self) -> Iterator[Connection]:
        with self._server.translated(), read_only(self._server.database.plain_transaction) as connection:
            yield connection


def _averages(connection: Connection, tables: ManifestTables, indexes: Mapping[str, IndexRow]) -> Averages | None:
    """Bytes are those of dense vectors: how long sparse ones are, nobody has written down."""
    counted = read_counts(connection, tables)
    features = int(connection.execute(select(func.count()).select_from(tables.features)).scalar_one())
    assets, records = sum(counted.assets.values()), {n: sum(each.values()) for n, each in counted.records.items()}
    if not features or not assets:
        return None
    size = sum(4 * (indexes[name].dimension or 0) * count for name, count in records.items() if name in indexes)
    return Averages(features / assets, sum(records.values()) / features, size / features)
