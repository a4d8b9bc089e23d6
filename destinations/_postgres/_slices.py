"""Sums over the slices of a collection, by which two places that keep the same records in Postgres are compared.

Everything is hashed by `hashtextextended`: it takes some 50 ns, is in every Postgres, and gives the same in all
versions on machines of one byte order; a server of another order would only have everything read. MD5 would make
comparing four times as long, as SQL has to pick its bytes out of a text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Table,
    Text,
    any_,
    cast,
    func,
    literal,
    select,
    text,
    union,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY

from vectorferry.connector.plugin import SLICES, DigestSum

_NO_MEMOIZE_NO_JIT: Final = text(
    "SELECT set_config(name, 'off', true) FROM pg_settings WHERE name IN ('enable_memoize', 'jit') AND setting = 'on'"
)
"""No entry of a ledger comes twice, and looking each up among those that came before takes a quarter of the time. The
planner expects thousands of times as many entries as there are, and would compile the statement for that. Not every
version has both settings."""


def key_hash(*ids: ColumnElement[str], of: ColumnElement[int] | None = None) -> ColumnElement[int]:
    """Of the ids of a record, collection first, or of those that come after the ids that `of` is the hash of; that of a
    feature is what the columns `feature_key` hold."""
    key = literal(0, BigInteger) if of is None else of
    for each in ids:
        key = func.hashtextextended(each, key, type_=BigInteger)
    return key


def digest_hashes(digest: ColumnElement[str], key: ColumnElement[int]) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """Two hashes of a digest in hexadecimal; null where that is. A `key` that says whose it is seeds them, so that two
    records which have swapped their digests are seen."""
    first, second = (func.hashtextextended(digest, seed, type_=BigInteger) for seed in (key, key.bitwise_not()))
    return first, second


def in_hex(digest: ColumnElement[bytes]) -> ColumnElement[str]:
    """A digest as text, which is what can be hashed in every version."""
    return func.encode(digest, literal("hex", Text), type_=Text)


def slice_of(collection: str, asset_id: ColumnElement[str], slices: int) -> ColumnElement[int]:
    """Which of so many slices an asset is in."""
    if slices == 1:
        return literal(0, Integer)
    return cast(key_hash(literal(collection, Text), asset_id).bitwise_and(slices - 1), Integer)


class SummedRows(NamedTuple):
    """The records of a kind in a slice, and how many rows there are besides that do not count."""

    kind: tuple[Any, ...]
    number: int
    sum: DigestSum
    others: int


def sum_up(
    kind: Sequence[ColumnElement[Any]],
    number: ColumnElement[int],
    hashes: Sequence[ColumnElement[int]],
    records: ColumnElement[int] | None = None,
    unknown: ColumnElement[int] | None = None,
    which: ColumnElement[bool] | None = None,
) -> Select[Any]:
    """The records of a kind, or of each, summed up by the `number` of their slice.

    Args:
        kind: constants, or columns to group by.
        number: of the slice.
        hashes: up to two of each record.
        records: how many there are, where that is not the number of rows.
        unknown: how many of them have no hash.
        which: of the rows, where the others are to be counted as well; else all.
    """
    grouped, nothing = [*kind, number], literal(0, BigInteger)
    sums = [func.sum(each) if which is None else func.sum(each).filter(which) for each in hashes]
    added = [*sums, nothing, nothing][:2]
    every = func.count() if which is None else func.count().filter(which)
    counts = [every if records is None else records, nothing if unknown is None else unknown]
    others = nothing if which is None else func.count() - every
    # Without names of their own, the literals of a union would have none.
    columns = [each.label(f"c{place}") for place, each in enumerate([*grouped, *counts, *added, others])]
    return select(*columns).group_by(*(each for each in grouped if not isinstance(each, BindParameter)))


def side_by_side(statements: Sequence[Select[Any]]) -> Select[Any]:
    """Several of `sum_up` over the same rows, which are read once for all of them."""
    first, *others = statements
    return first.add_columns(*(column for each in others for column in each.selected_columns))


def read_sums(connection: Connection, statements: Iterable[Select[Any]], beside: int = 1) -> Iterator[SummedRows]:
    """What several statements of `sum_up` answer as one, each with so many `beside` each other."""
    connection.execute(_NO_MEMOIZE_NO_JIT)
    for row in connection.execute(union_all(*statements)):
        width = len(row) // beside
        for start in range(0, len(row), width):
            *kind, number, records, unknown, low, high, others = row[start : start + width]
            each = DigestSum(int(records or 0), int(low or 0), int(high or 0), unknown)
            yield SummedRows(tuple(kind), number, each, others)


def assets_in(connection: Connection, tables: Iterable[Table], collection: str, slices: Collection[int]) -> list[str]:
    """The assets of a collection that any of these tables names and that are in some of its `SLICES`, sorted."""
    # One parameter, however many slices there are: a statement about many tables would come to have too many.
    numbers = any_(literal(sorted(slices), ARRAY(Integer)))

    def named(table: Table) -> Select[Any]:
        number = slice_of(collection, table.c.asset_id, SLICES)
        return select(table.c.asset_id).where(table.c.collection == collection, number == numbers)

    return sorted(connection.execute(union(*map(named, tables))).scalars()) if slices else []
