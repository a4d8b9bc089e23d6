"""The indexes and namespaces that the manifest knows, and the settings that it was made under."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement, Connection, Text, delete, exists, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from vectorferry.connector import ConfigurationError

from .._postgres import forget_cursors
from ._manifest_tables import ManifestTables
from ._manifest_values import IndexRow, NamespaceRow

__all__ = [
    "advance",
    "check_settings",
    "forget_index",
    "forget_namespace",
    "has_records_in",
    "note_visible",
    "read_indexes",
    "read_namespaces",
    "record_settings",
    "write_index",
]


def record_settings(connection: Connection, tables: ManifestTables, values: Mapping[str, str], place: str) -> None:
    """Keep settings that are new. Raises `ConfigurationError` for one that is not what it was; `place` says where."""
    held = check_settings(connection, tables, values, place)
    new = [{"key": key, "value": value} for key, value in sorted(values.items()) if key not in held]
    if new:
        connection.execute(insert(tables.settings).on_conflict_do_nothing(), new)


def check_settings(
    connection: Connection, tables: ManifestTables, values: Mapping[str, str], place: str
) -> Mapping[str, str]:
    """The settings that are kept. Raises `ConfigurationError` for one that is not what it was; `place` says where."""
    held = {row.key: row.value for row in connection.execute(select(tables.settings))}
    for key, value in values.items():
        if held.get(key, value) != value:
            raise ConfigurationError(
                f"{key}: the records in Pinecone were written under {held[key]!r}, not {value!r}, says the manifest in "
                f"{place}. Set it back to {held[key]!r}, or give the manifest another `schema` to start anew."
            )
    return held


def read_indexes(connection: Connection, tables: ManifestTables) -> dict[str, IndexRow]:
    """Every index that records were written to."""
    found = connection.execute(select(tables.indexes).order_by(tables.indexes.c.name))
    return {row.name: IndexRow(*row) for row in found}


def write_index(connection: Connection, tables: ManifestTables, row: IndexRow) -> None:
    """Enter an index, or correct its entry."""
    values = {
        "vector_name": row.vector_name,
        "dimension": row.dimension,
        "metric": row.metric,
        "host": row.host,
        "complete": row.complete,
    }
    if read_indexes(connection, tables).get(row.name) != row:
        connection.execute(
            insert(tables.indexes)
            .values(name=row.name, **values)
            .on_conflict_do_update(index_elements=["name"], set_=values)
        )


def forget_index(connection: Connection, tables: ManifestTables, name: str) -> None:
    """Forget an index with its records. Assets that had some are not known any more, and will be read again."""
    features = tables.features
    has_records = features.c.records.has_key(name)
    connection.execute(delete(tables.ledger).where(has_records_in(tables, name)))
    without = features.c.records.op("-")(literal(name, Text))
    connection.execute(update(features).where(has_records).values(records=without))
    connection.execute(delete(tables.unconfirmed).where(tables.unconfirmed.c.index_name == name))
    connection.execute(delete(tables.namespaces).where(tables.namespaces.c.index_name == name))
    connection.execute(delete(tables.indexes).where(tables.indexes.c.name == name))
    forget_cursors(connection, tables.cursors)


def has_records_in(tables: ManifestTables, index: str) -> ColumnElement[bool]:
    """Of a ledger's row: the asset has records in this index."""
    features, ledger = tables.features, tables.ledger
    of_asset = (features.c.collection == ledger.c.collection, features.c.asset_id == ledger.c.asset_id)
    return exists().where(*of_asset, features.c.records.has_key(index))


def read_namespaces(connection: Connection, tables: ManifestTables) -> list[NamespaceRow]:
    """Every namespace that holds, or has held, records."""
    namespaces = tables.namespaces
    found = connection.execute(select(namespaces).order_by(namespaces.c.index_name, namespaces.c.collection))
    return [NamespaceRow(*row) for row in found]


def forget_namespace(connection: Connection, tables: ManifestTables, row: NamespaceRow) -> None:
    """Forget how far a namespace was written, unless it was written further meanwhile."""
    namespaces = tables.namespaces
    of_row = (namespaces.c.index_name == row.index, namespaces.c.collection == row.collection)
    connection.execute(delete(namespaces).where(*of_row, namespaces.c.lsn == row.lsn))


def note_visible(connection: Connection, tables: ManifestTables, row: NamespaceRow, visible: int) -> None:
    """Note how far queries were seen to see a namespace."""
    namespaces = tables.namespaces
    of_row = (namespaces.c.index_name == row.index, namespaces.c.collection == row.collection)
    connection.execute(
        update(namespaces).where(*of_row, namespaces.c.visible < visible).values(visible=func.least(visible, row.lsn))
    )


def advance(
    connection: Connection, tables: ManifestTables, collection: str, namespace: str, written: Mapping[str, int]
) -> None:
    """Note by index how far the namespace of a collection has been written; it never goes back."""
    if not written:
        return
    rows = [
        {"index_name": index, "collection": collection, "namespace": namespace, "lsn": written[index]}
        for index in sorted(written)
    ]
    new = insert(tables.namespaces).values(rows)
    connection.execute(
        new.on_conflict_do_update(
            index_elements=["index_name", "collection"],
            set_={"lsn": new.excluded.lsn},
            where=tables.namespaces.c.lsn < new.excluded.lsn,
        )
    )
