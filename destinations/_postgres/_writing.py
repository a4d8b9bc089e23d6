"""Bringing a table to what a batch wants in it: compared by digests, sent as binary COPY, merged at once."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from psycopg import Copy, postgres, sql
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format
from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    Text,
    and_,
    any_,
    bindparam,
    cast,
    delete,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import NullType

from vectorferry.connector.plugin import Counts, DestinationError, canonical_json
from vectorferry.destinations._postgres._database import Driver, Question, driver_of, plain_answers
from vectorferry.destinations._postgres._ddl import fixed, joined, place_of

ID: Final = Text(collation="C")
"""Ids are compared byte by byte: no language's rules apply to them, and a load is 15 % faster without."""


def of_assets(table: Table, collection: str, asset_ids: Sequence[str]) -> ColumnElement[bool]:
    """The rows of some assets of one collection. The ids are one parameter, however many they are."""
    return and_(table.c.collection == collection, table.c.asset_id == any_(text_array(asset_ids)))


def text_array(texts: Sequence[str]) -> ColumnElement[Sequence[str]]:
    """One parameter with all of these."""
    return cast(bindparam(None, array_literal(texts), NullType(), unique=True), ARRAY(Text))


def array_literal(texts: Sequence[str]) -> str:
    """An array of these, as Postgres spells it. psycopg spells a list item by item, ten times as slowly, and a batch of
    thousands of ids is sent with every statement."""
    together = "".join(texts)
    if '"' in together or "\\" in together:  # looked for in all of them at once: hardly any id has one
        texts = [each.replace("\\", "\\\\").replace('"', '\\"') for each in texts]
    return '{"' + '","'.join(texts) + '"}' if texts else "{}"


FeatureKey: TypeAlias = tuple[str, str]
"""Asset id and feature id, within one collection."""

Row: TypeAlias = tuple[Any, ...]

DesiredRows: TypeAlias = dict[FeatureKey, tuple[bytes, Row]]
"""By key: the hash that is compared, and the values in the order of the columns that rows bring."""

SomeRow = TypeVar("SomeRow")
Digest = TypeVar("Digest")


@dataclass(slots=True)
class TableDiff(Generic[SomeRow]):
    """Rows to insert and to update, sorted by key; keys to delete; and how many stay as they are."""

    insert: Sequence[SomeRow] = ()
    update: Sequence[SomeRow] = ()
    delete: Sequence[FeatureKey] = ()
    unchanged: int = 0

    def counts(self) -> Counts:
        """The same as numbers."""
        return Counts(len(self.insert), len(self.update), self.unchanged, len(self.delete))


def diff_table(
    desired: Mapping[FeatureKey, tuple[Digest, SomeRow]], stored: Mapping[FeatureKey, Digest]
) -> TableDiff[SomeRow]:
    """Compare the rows a batch wants with what the table holds for the same assets, by hashes or any other digest.

    Keys are visited in sorted order, so that two writers take row locks in the same order.
    """
    return diff_in_order(((key, *desired[key]) for key in sorted(desired)), stored)


def diff_in_order(
    desired: Iterable[tuple[FeatureKey, Digest, SomeRow]], stored: Mapping[FeatureKey, Digest]
) -> TableDiff[SomeRow]:
    """The same for rows that come in the order of their keys, each behind its key and its digest."""
    insert: list[SomeRow] = []
    update: list[SomeRow] = []
    gone = set(stored)
    for key, digest, row in desired:
        if key not in stored:
            insert.append(row)
            continue
        gone.discard(key)
        if stored[key] != digest:
            update.append(row)
    unchanged = len(stored) - len(gone) - len(update)
    return TableDiff(insert, update, sorted(gone), unchanged)


# Binary COPY through psycopg with declared types: the fastest way in that Postgres has.


Block: TypeAlias = Sequence[Sequence[Buffer]]
"""Some rows: for each column its values as Postgres receives them, each behind its length (int32).
https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"."""

Encoder: TypeAlias = Callable[[Sequence[SomeRow]], Iterator[Block]]
"""Encodes some rows at a time, each when it is sent, while Postgres works on those before."""

_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_length: Final = struct.Struct(">i").pack

_BLOCKS_AT_ONCE: Final = 8
"""Of an encoder's, in one statement: about a megabyte."""

_PARAMETER: Final = "\0"
"""Where one comes in a statement that is yet to be escaped: no name holds it."""

_STAGE: Final = ("pg_temp", "vectorferry_stage")
"""By its full name: what somebody else has called so is found first in other schemas."""


class ColumnType(NamedTuple):
    """A type by its number, which differs from one database to the next for an extension's, and by its full name."""

    oid: int
    name: str


ColumnTypes: TypeAlias = Mapping[str, ColumnType]
"""Of the columns that rows bring to a table, in their order."""

_COLUMN_TYPES: Final = sql.SQL(
    "SELECT c.relname, a.attname, a.atttypid::bigint, format_type(a.atttypid, NULL) FROM pg_attribute a "
    "JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = %s AND c.relname = ANY(CAST(%s AS text[])) AND a.attnum > 0"
)


def types_of(tables: Collection[Table]) -> Question:
    """Asks for the types of all columns of these tables of one schema, for `types_in`."""
    (schema,) = {table.schema for table in tables}
    return sql.Composed([_COLUMN_TYPES]), (schema, array_literal([table.name for table in tables]))


def types_in(rows: Iterable[Row], table: Table, columns: Collection[str]) -> ColumnTypes:
    """Those of these columns of one of the tables. Raises `DestinationError` where one has gone since it was made."""
    types = {str(column): ColumnType(oid, str(name)) for of, column, oid, name in rows if of == table.name}
    if missing := [column for column in columns if column not in types]:
        raise DestinationError(
            f"the table {table.schema}.{table.name} has no column {missing[0]} any more: it was dropped while this was "
            "writing. Run `vectorferry sync` again: it makes the column anew, or says what to do; nothing of the batch "
            "was written."
        )
    return {column: types[column] for column in columns}


def encoded_values(contents: Iterable[bytes]) -> list[bytes]:
    """The values of a column that is never null, each behind its length."""
    return [_length(len(each)) + each for each in contents]


class _JsonbDumper(Dumper):
    """Any JSON value, in its canonical form."""

    format = Format.BINARY
    oid = postgres.types["jsonb"].oid

    def dump(self, obj: Any) -> bytes:
        return b"\x01{}" if obj == {} else b"\x01" + canonical_json(obj)  # most rows have nothing beyond their columns


def copy_rows(
    driver: Driver, table: Table, columns: Collection[str], rows: Sequence[SomeRow], encode: Encoder[SomeRow]
) -> None:
    """COPY rows, which bring these columns, straight into a table; none of their keys may be there yet.

    Measured with 20,000 × 1024-d: 1.8 times as fast as staging them, and a key that another writer put there meanwhile
    fails the transaction, which is then tried again.
    """
    count = _copy(driver, place_of(table), columns, lambda copy: _write_blocks(copy, len(columns), encode(rows)))
    _check_count(driver, table, count, len(rows))


def _copy(driver: Driver, into: sql.Composable, columns: Collection[str], write: Callable[[Copy], None]) -> int:
    """How many of the rows that this writes Postgres has taken."""
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(into, joined(columns))
    with driver.cursor() as cursor:
        cursor.adapters.register_dumper(None, _JsonbDumper)
        with cursor.copy(statement) as copy:
            write(copy)
        return cursor.rowcount


def _write_rows(copy: Copy, types: ColumnTypes, rows: Iterable[Row]) -> None:
    copy.set_types([each.oid for each in types.values()])
    for row in rows:
        copy.write_row(row)


def _write_blocks(copy: Copy, width: int, blocks: Iterable[Block]) -> None:
    copy.write(_SIGNATURE)
    start = struct.pack(">h", width)
    for values in blocks:
        parts: list[Buffer] = []
        for row in zip(*values, strict=True):
            parts += (start, *row)
        copy.write(b"".join(parts))
    copy.write(_TRAILER)


def upsert_rows(
    driver: Driver, table: Table, types: ColumnTypes, rows: Sequence[SomeRow], encode: Encoder[SomeRow]
) -> None:
    """Insert rows or update them, whichever is due. Columns that they do not bring get their default again: when the
    row was written is now, and a row that was hidden is shown.

    Some rows are sent with each statement, as an array for each column. Measured with 20,000 × 1024-d: three quarters
    of the server's time that a staging table takes, in which every vector is written and looked up once more. With an
    eighth as many at once the statements themselves are felt.
    """
    source = joined(fixed(f"unnest(CAST({_PARAMETER} AS {each.name}[]))") for each in types.values())
    statement = _upsert(table, types, source).as_string(driver).replace("%", "%%").replace(_PARAMETER, "%b")
    with driver.cursor() as cursor:
        cursor.adapters.register_dumper(_Array, _ArrayDumper)
        encoded = encode(rows)
        while blocks := [*islice(encoded, _BLOCKS_AT_ONCE)]:
            size = sum(len(block[0]) for block in blocks)
            columns = zip(*blocks, strict=True)
            arrays = [_Array(each.oid, size, values) for each, values in zip(types.values(), columns, strict=True)]
            cursor.execute(fixed(statement), arrays)
            _check_count(driver, table, cursor.rowcount, size)


@dataclass(frozen=True, slots=True)
class _Array:
    """The values of a column, behind their lengths, for an array of a type with this number."""

    oid: int
    size: int
    values: Sequence[Sequence[Buffer]]


class _ArrayDumper(Dumper):
    """As array_recv takes it: dimensions, whether there are nulls, the elements' type; size, lower bound; elements."""

    format = Format.BINARY

    def dump(self, obj: _Array) -> bytes:
        head = struct.pack(">iiIii", 1, 0, obj.oid, obj.size, 1)
        return head + b"".join(chain.from_iterable(obj.values))


def _upsert_through_stage(driver: Driver, table: Table, types: ColumnTypes, rows: Iterable[Row]) -> int:
    """The same for rows of many columns, for which arrays take a fifth more of both sides' time: COPY them into a
    staging table, and write them with one statement. How many Postgres has written."""
    stage, target = sql.Identifier(*_STAGE), place_of(table)
    driver.execute(
        sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
            stage, joined(types), target
        )
    )
    _copy(driver, stage, types, lambda copy: _write_rows(copy, types, rows))
    count = driver.execute(_upsert(table, types, sql.SQL("* FROM {}").format(stage))).rowcount
    driver.execute(sql.SQL("DROP TABLE {}").format(stage))
    return count


def _upsert(table: Table, columns: Collection[str], source: sql.Composable) -> sql.Composed:
    target = place_of(table)
    keys = [column.name for column in table.primary_key.columns]
    assignments = sql.SQL(", ").join(
        sql.SQL("{0} = EXCLUDED.{0}" if column.name in columns else "{0} = DEFAULT").format(sql.Identifier(column.name))
        for column in table.columns
        if column.name not in keys
    )
    return sql.SQL("INSERT INTO {} ({}) SELECT {} ON CONFLICT ({}) DO UPDATE SET {}").format(
        target, joined(columns), source, joined(keys), assignments
    )


_TRIGGERS: Final = """
SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal UNION
SELECT rulename FROM pg_rewrite WHERE ev_class = %s::regclass ORDER BY 1
"""


def _check_count(driver: Driver, table: Table, count: int, rows: int) -> None:
    """Raise `DestinationError` where a trigger or a rule keeps rows back: nothing of the batch is recorded then."""
    if count != rows:
        target = place_of(table).as_string(driver)
        names = ", ".join(str(name) for (name,) in driver.execute(_TRIGGERS, [target, target]))
        raise DestinationError(
            f"the table {table.schema}.{table.name} has taken {count:,} of {rows:,} rows: a trigger or a rule keeps "
            f"the others back ({names}). Drop it, and run again; nothing of the batch was written."
        )


# Comparing a table with what a batch wants in it, and bringing it there.


_GONE: Final = text(
    "(asset_id, feature_id) IN (SELECT * FROM unnest(CAST(:assets AS text[]), CAST(:features AS text[])))"
)


_OF_ASSETS: Final = sql.SQL("SELECT {} FROM {} WHERE collection = %s AND asset_id = ANY(CAST(%s AS text[]))")


def rows_of_assets(table: Table, columns: sql.Composable, collection: str, asset_ids: str) -> Question:
    """Asks for these columns of the rows of some assets, whose ids are the array that `array_literal` makes of them."""
    return _OF_ASSETS.format(columns, place_of(table)), (collection, asset_ids)


def send(
    connection: Connection, table: Table, types: ColumnTypes, diff: TableDiff[SomeRow], encode: Encoder[SomeRow]
) -> None:
    """Write the rows of a diff that are new or different, as they are encoded; they bring columns of these types."""
    driver = driver_of(connection)
    if diff.insert:
        copy_rows(driver, table, types, diff.insert, encode)
    if diff.update:
        upsert_rows(driver, table, types, diff.update, encode)


def send_laid_out(
    connection: Connection,
    table: Table,
    types: ColumnTypes,
    diff: TableDiff[SomeRow],
    values_of: Callable[[SomeRow], Row],
) -> None:
    """The same for rows whose values are laid out one by one as they are sent, and encoded by psycopg."""
    driver = driver_of(connection)
    if diff.insert:
        new = map(values_of, diff.insert)
        count = _copy(driver, place_of(table), types, lambda copy: _write_rows(copy, types, new))
        _check_count(driver, table, count, len(diff.insert))
    if diff.update:
        count = _upsert_through_stage(driver, table, types, map(values_of, diff.update))
        _check_count(driver, table, count, len(diff.update))


def send_rows(connection: Connection, table: Table, columns: Sequence[str], diff: TableDiff[Row]) -> None:
    """The same for rows that are laid out, with values of these columns in this order, whose types are looked up."""
    if diff.insert or diff.update:
        types = types_in(plain_answers(connection, [types_of([table])])[0], table, columns)
        send_laid_out(connection, table, types, diff, tuple)


def delete_keys(connection: Connection, table: Table, collection: str, keys: Sequence[FeatureKey]) -> None:
    """Delete features of one collection. Raises `DestinationError` where a trigger keeps some of them."""
    if not keys:
        return
    asset_ids, feature_ids = [asset for asset, _ in keys], [feature for _, feature in keys]
    deleted = connection.execute(
        delete(table).where(table.c.collection == collection, _GONE), {"assets": asset_ids, "features": feature_ids}
    ).rowcount
    if deleted < len(keys):
        rows = (collection, array_literal(asset_ids), array_literal(feature_ids))
        check_gone(connection, {table: _THESE}, rows, *plain_answers(connection, [keepers_of([table])]))


_THESE: Final = sql.SQL(
    "collection = %s AND (asset_id, feature_id) IN (SELECT * FROM unnest(CAST(%s AS text[]), CAST(%s AS text[])))"
)

# Of row-level triggers, those that are called before the row changes can keep it as it is (bits 0 and 1 of `tgtype`).
_KEEPERS: Final = sql.SQL(
    "SELECT c.relname, string_agg(t.tgname, ', ' ORDER BY t.tgname) FROM pg_trigger t "
    "JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = %s AND c.relname = ANY(CAST(%s AS text[])) AND NOT t.tgisinternal AND t.tgtype & 3 = 3 "
    "GROUP BY c.relname"
)


def keepers_of(tables: Sequence[Table]) -> Question:
    """Which of these tables of one schema have triggers that can keep rows back, and their names."""
    return sql.Composed([_KEEPERS]), (tables[0].schema, array_literal([table.name for table in tables]))


def check_gone(
    connection: Connection, rows: Mapping[Table, sql.Composable], values: Sequence[object], keepers: Iterable[Row]
) -> None:
    """Raise `DestinationError` where a table still has `rows` that were to go, by a condition for each and the `values`
    of all. Only those with `keepers` are looked at."""
    names = {str(table): str(triggers) for table, triggers in keepers}
    for table, which in rows.items():
        if table.name in names:
            place = place_of(table)
            ((is_left,),) = plain_answers(connection, [(_IS_LEFT.format(place, which), values)])[0]
            if is_left:
                raise DestinationError(
                    f"the table {table.schema}.{table.name} keeps rows that were to go: a trigger keeps them back "
                    f"({names[table.name]}). Drop it, and run again; nothing of this was written."
                )


_IS_LEFT: Final = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {})")


def delete_assets(connection: Connection, table: Table, collection: str, asset_ids: Sequence[str]) -> int:
    """Delete every row of some assets; how many there were."""
    return connection.execute(delete(table).where(of_assets(table, collection, asset_ids))).rowcount
