"""What is stored, on average."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, Table, func, literal, select, text

from vectorferry.connector import MODALITIES, Averages

from ._tables import SyncSchema

__all__ = ["read_averages"]


def read_averages(connection: Connection, schema: SyncSchema) -> Averages | None:
    """Counted rows, and the sizes of their tables as Postgres keeps them, indexes left out; None when there is no
    feature."""
    features = [*schema.features.values()]
    vectors = [schema.vector_table(entry) for modality in MODALITIES for entry in schema.catalogue.live(modality)]
    counted, assets = _rows(connection, features), _rows(connection, [schema.tables.assets])
    if not counted or not assets:
        return None
    size = sum(_bytes(connection, table) for table in (*features, *vectors))
    return Averages(counted / assets, 1 + _rows(connection, vectors) / counted, size / counted)


def _rows(connection: Connection, tables: Iterable[Table]) -> int:
    return sum(
        int(connection.execute(select(func.count()).select_from(table)).scalar_one())
        for table in tables
        if _oid(connection, table)
    )


def _bytes(connection: Connection, table: Table) -> int:
    oid = _oid(connection, table)
    return int(connection.execute(select(func.pg_table_size(literal(oid)))).scalar_one()) if oid else 0


def _oid(connection: Connection, table: Table) -> int | None:
    """None when there is no such table."""
    name = connection.dialect.identifier_preparer.format_table(table)
    found = connection.execute(text("SELECT CAST(to_regclass(:name) AS oid)"), {"name": name}).scalar()
    return None if found is None else int(found)
