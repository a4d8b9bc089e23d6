"""Bringing a table to what a batch wants in it: compared by digests, sent as binary COPY, merged at once."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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

    insert: list[SomeRow] = field(default_factory=list)
    update: list[SomeRow] = field(default_factory=list)
    delete: list[FeatureKey] = field(default_factory=list)
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
    diff: TableDiff[SomeRow] = TableDiff()
    if not stored:  # a first load has nothing to compare
        diff.insert = [desired[key][1] for key in sorted(desired)]
        return diff
    for key in sorted(desired):
        digest, row = desired[key]
        if key not in stored:
            diff.insert.append(row)
        elif stored[key] != digest:
            diff.update.append(row)
        else:
            diff.unchanged += 1
    diff.delete.extend(sorted(stored.keys() - desired.keys()))
    return diff


# Binary COPY through psycopg with declared types: the fastest way in that Postgres has.


Encoder: TypeAlias = Callable[[Sequence[Row]], Iterator[Sequence[Sequence[Buffer]]]]
"""Some rows at a time: for each column its values as Postgres receives them, each behind its length (int32).
https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"."""

_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"

_BLOCKS_AT_ONCE: Final = 8
"""Of an encoder's, in one statement: about a megabyte."""

_PARAMETER: Final = "\0"
"""Where one comes in a statement that is yet to be escaped: no name holds it."""

_STAGE: Final = ("pg_temp", "vectorferry_stage")
"""By its full name: what somebody else has called so is found first in other schemas."""


class _JsonbDumper(Dumper):
    """Any JSON value, in its canonical form."""

    format = Format.BINARY
    oid = postgres.types["jsonb"].oid

    def dump(self, obj: Any) -> bytes:
        return b"\x01{}" if obj == {} else b"\x01" + canonical_json(obj)  # most rows have nothing beyond their columns


def copy_rows(
    driver: Driver, table: Table, columns: Sequence[str], rows: Sequence[Row], encode: Encoder | None = None
) -> None:
    """COPY rows, which bring these columns, straight into a table; none of their keys may be there yet.

    Measured with 20,000 × 1024-d: 1.8 times as fast as staging them, and a key that another writer put there meanwhile
    fails the transaction, which is then tried again.
    """
    count = _copy(driver, place_of(table), table, columns, rows, encode)
    _check_count(driver, table, count, len(rows))


def upsert_rows(
    driver: Driver, table: Table, columns: Sequence[str], rows: Sequence[Row], encode: Encoder | None = None
) -> None:
    """Insert rows or update them, whichever is due. Columns that they do not bring get their default again: when the
    row was written is now, and a row that was hidden is shown."""
    if encode is None:
        _upsert_through_stage(driver, table, columns, rows)
    else:
        _upsert_arrays(driver, table, columns, rows, encode)


def _upsert_through_stage(driver: Driver, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """COPY them into a staging table, and write them with one statement."""
    stage, target = sql.Identifier(*_STAGE), place_of(table)
    driver.execute(
        sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
            stage, joined(columns), target
        )
    )
    _copy(driver, stage, table, columns, rows, None)
    count = driver.execute(_upsert(table, columns, sql.SQL("* FROM {}").format(stage))).rowcount
    _check_count(driver, table, count, len(rows))
    driver.execute(sql.SQL("DROP TABLE {}").format(stage))


def _upsert_arrays(driver: Driver, table: Table, columns: Sequence[str], rows: Sequence[Row], encode: Encoder) -> None:
    """Send some rows with each statement, as an array for each column.

    Measured with 20,000 × 1024-d: three quarters of the server's time that a staging table takes, in which every vector
    is written and looked up once more. With an eighth as many at once the statements themselves are felt.
    """
    types = [_column_types(driver, table)[name] for name in columns]
    source = joined(fixed(f"unnest(CAST({_PARAMETER} AS {each.name}[]))") for each in types)
    statement = _upsert(table, columns, source).as_string(driver).replace("%", "%%").replace(_PARAMETER, "%b")
    with driver.cursor() as cursor:
        cursor.adapters.register_dumper(_Array, _ArrayDumper)
        encoded = encode(rows)
        while blocks := [*islice(encoded, _BLOCKS_AT_ONCE)]:
            size = sum(len(block[0]) for block in blocks)
            arrays = [_Array(each.oid, size, [block[place] for block in blocks]) for place, each in enumerate(types)]
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


def _upsert(table: Table, columns: Sequence[str], source: sql.Composable) -> sql.Composed:
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


def _copy(
    driver: Driver,
    into: sql.Composable,
    table: Table,
    columns: Sequence[str],
    rows: Sequence[Row],
    encode: Encoder | None,
) -> int:
    """How many of them Postgres has taken."""
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(into, joined(columns))
    types = _column_types(driver, table) if encode is None else {}
    with driver.cursor() as cursor:
        cursor.adapters.register_dumper(None, _JsonbDumper)
        with cursor.copy(statement) as copy:
            if encode is None:
                copy.set_types([types[name].oid for name in columns])
                for row in rows:
                    copy.write_row(row)
            else:
                _write_blocks(copy, len(columns), encode(rows))
        return cursor.rowcount


def _write_blocks(copy: Copy, width: int, blocks: Iterable[Sequence[Sequence[Buffer]]]) -> None:
    copy.write(_SIGNATURE)
    start = struct.pack(">h", width)
    for values in blocks:
        parts: list[Buffer] = []
        for row in zip(*values, strict=True):
            parts += (start, *row)
        copy.write(b"".join(parts))
    copy.write(_TRAILER)


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


class _ColumnType(NamedTuple):
    oid: int
    name: str


def _column_types(driver: Driver, table: Table) -> dict[str, _ColumnType]:
    """Number and full name of each column's type: an extension's types have other numbers in each database."""
    rows = driver.execute(
        "SELECT attname, atttypid::bigint, format_type(atttypid, NULL) FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attnum > 0",
        [place_of(table).as_string(driver)],
    )
    return {str(column): _ColumnType(int(str(oid)), str(name)) for column, oid, name in rows}


# Comparing a table with what a batch wants in it, and bringing it there.


_GONE: Final = text(
    "(asset_id, feature_id) IN (SELECT * FROM unnest(CAST(:assets AS text[]), CAST(:features AS text[])))"
)


_OF_ASSETS: Final = sql.SQL("SELECT {} FROM {} WHERE collection = %s AND asset_id = ANY(CAST(%s AS text[]))")


def rows_of_assets(table: Table, columns: sql.Composable, collection: str, asset_ids: str) -> Question:
    """Asks for these columns of the rows of some assets, whose ids are the array that `array_literal` makes of them."""
    return _OF_ASSETS.format(columns, place_of(table)), (collection, asset_ids)


def send(
    connection: Connection, table: Table, columns: Sequence[str], diff: TableDiff[Row], encode: Encoder | None = None
) -> None:
    """Write the rows of a diff that are new or different; they bring these columns, in this order."""
    driver = driver_of(connection)
    if diff.insert:
        copy_rows(driver, table, columns, diff.insert, encode)
    if diff.update:
        upsert_rows(driver, table, columns, diff.update, encode)


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
