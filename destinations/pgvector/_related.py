"""Tables of metadata beside the assets: made when they are first given, and replaced where they differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from psycopg import sql
from sqlalchemy import (
    ARRAY,
    Column,
    Connection,
    LargeBinary,
    MetaData,
    Table,
    Text,
    any_,
    delete,
    func,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import insert

from vectorferry.connector.plugin import ConfigurationError, Counts, RelatedRow, RelatedTable, is_row_of
from vectorferry.destinations._postgres import ID, columns_of, diff_table, fixed, lock_ddl, run, send_rows, statement
from vectorferry.destinations.pgvector._schema import SyncSchema
from vectorferry.destinations.pgvector._tables import SyncTables, column_type, when_written


def related_hashes(connection: Connection, tables: SyncTables, table: RelatedTable) -> Mapping[str, bytes]:
    """By key, the hash of each row; empty of one that is not what its hash was taken of, so that it is written again.
    Nothing when the table is not there."""
    if table.name not in _our_names(connection, tables):
        return {}
    stored, present = _table(tables.schema, table), _stored_columns(connection, tables, table)
    # A column that a later version has is not there yet: no row has the hash that it is going to have.
    columns = [name for name in table.columns if name in present]
    rows = connection.execute(select(stored.c.row_hash, *(stored.c[name] for name in columns))).mappings()
    return {row[table.key]: _checked({**row}, table) for row in rows}


def _checked(row: Mapping[str, Any], table: RelatedTable) -> bytes:
    digest, columns = bytes(row["row_hash"]), {name: row.get(name) for name in table.columns}
    return digest if is_row_of(digest, columns, {}, {}) else b""


def replace_rows(
    connection: Connection, schema: SyncSchema, table: RelatedTable, rows: Sequence[RelatedRow], *, complete: bool
) -> Counts:
    """Write what differs, in the caller's transaction, while nobody else makes or replaces tables of this schema."""
    lock_ddl(connection, schema.name)
    _ensure(connection, schema.tables, table)
    desired = {(row.key, ""): (row.row_hash, (*row.columns.values(), row.row_hash)) for row in rows}
    stored = {(key, ""): digest for key, digest in related_hashes(connection, schema.tables, table).items()}
    diff = diff_table(desired, stored if complete else {key: stored[key] for key in stored.keys() & desired.keys()})
    target = _table(schema.name, table)
    send_rows(connection, target, (*table.columns, "row_hash"), diff)
    if diff.delete:
        gone = literal([key for key, _ in diff.delete], ARRAY(Text))
        connection.execute(delete(target).where(target.c[table.key] == any_(gone)))
    return diff.counts()


def count_related(connection: Connection, tables: SyncTables) -> dict[str, int]:
    """How many rows each of these tables has, as the schema knows them."""
    counting = {
        name: select(func.count()).select_from(Table(name, MetaData(schema=tables.schema)))
        for name in _our_names(connection, tables)
    }
    return {name: connection.execute(statement).scalar_one() for name, statement in counting.items()}


def _ensure(connection: Connection, tables: SyncTables, table: RelatedTable) -> None:
    """Make the table, or add the columns that it lacks. Raises `ConfigurationError` when it is not ours."""
    definition = _table(tables.schema, table)
    if table.name not in _our_names(connection, tables):
        if columns_of(connection, tables.schema, [table.name]):
            raise ConfigurationError(
                f"the table {tables.schema}.{table.name} exists and was not made by Vectorferry: rename it, or sync "
                "into another `schema`"
            )
        definition.create(connection)
        connection.execute(insert(tables.related).values(table_name=table.name).on_conflict_do_nothing())
    stored = _stored_columns(connection, tables, table)
    target = sql.Identifier(tables.schema, table.name)
    for name, kind in table.columns.items():
        if name not in stored:
            run(connection, [statement("ALTER TABLE {} ADD COLUMN {} {}", target, name, fixed(kind))])


def _stored_columns(connection: Connection, tables: SyncTables, table: RelatedTable) -> Collection[str]:
    """The columns that the table has. Raises `ConfigurationError` for a lost one that cannot be added back to rows."""
    stored = columns_of(connection, tables.schema, [table.name])[table.name]
    if missing := [name for name in (table.key, "row_hash") if name not in stored]:
        drop = statement("DROP TABLE {}", sql.Identifier(tables.schema, table.name))
        raise ConfigurationError(
            f"the table {tables.schema}.{table.name} has lost its column {missing[0]}. Drop the table, and the next "
            f"sync makes it anew: {drop};"
        )
    return stored


def _our_names(connection: Connection, tables: SyncTables) -> Sequence[str]:
    """The tables that were made here and that nobody has dropped, sorted."""
    name = tables.related.c.table_name
    made = connection.execute(select(name).order_by(name)).scalars().all()
    stored = columns_of(connection, tables.schema, made) if made else {}
    return [each for each in made if each in stored]


def _table(schema: str, table: RelatedTable) -> Table:
    return Table(
        table.name,
        MetaData(schema=schema),
        *(
            Column(name, ID, primary_key=True) if name == table.key else Column(name, column_type(kind))
            for name, kind in table.columns.items()
        ),
        Column("row_hash", LargeBinary, nullable=False),
        when_written(),
    )
