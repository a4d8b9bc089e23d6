"""What our tables were made with, against what they have now: types, NOT NULL, defaults, keys, generated columns.

Whatever else reads and writes these tables relies on it. What somebody has taken away by hand is given back by steps,
after what does not hold to it is filled in or deleted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import sql
from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Integer,
    LargeBinary,
    Table,
    Text,
    TextClause,
    cast,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.schema import AddConstraint, CreateColumn, CreateTable

from vectorferry.destinations._postgres._ddl import DIALECT, fixed, joined, statement
from vectorferry.destinations._postgres._relations import TYPE_NAME

_DISTRUSTED: Final = frozenset({"fingerprint", "row_hash", "vector_hash", "metadata_hash", "keys_hash"})
"""Columns that are empty of what is to be read again, or written again."""
_FILLINGS: Final[Sequence[tuple[type[Any], str]]] = (
    (Text, "''"),
    (LargeBinary, "''"),
    (JSONB, "'{}'"),
    (DateTime, "now()"),
    (Boolean, "false"),
    (Integer, "0"),
)
"""What stands for nothing in a column of each type. Of a fingerprint or a hash it says that the record is to be read
again or written again."""

_DEFINITIONS: Final = text(
    f"SELECT c.relname AS table_name, a.attname AS name, {TYPE_NAME} || "  # noqa: S608 - our own words
    """coalesce(' collate ' || l.collname, '') AS kind, a.attnotnull AS is_required,
    a.attgenerated <> '' AS is_computed, a.atthasdef AS has_default,
    k.conname AS key, array_position(k.conkey, a.attnum) AS place,
    coalesce(i.indisvalid AND i.indisready AND i.indimmediate, false) AS is_whole
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_collation l ON l.oid = a.attcollation AND a.attcollation <> t.typcollation
LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
LEFT JOIN pg_index i ON i.indexrelid = k.conindid
WHERE n.nspname = :schema AND c.relname = ANY(CAST(:tables AS text[])) AND c.relkind = 'r'
"""
)


@dataclass(frozen=True, slots=True)
class Damage:
    """What somebody has taken away from a table: columns that are `retyped` have these types now, `required` ones may
    be null, those with `defaults` have none, and `computed` ones are not generated any more. `key` is the constraint in
    the place of its key, if there is one."""

    table: Table
    retyped: Mapping[str, str]
    required: Sequence[str]
    defaults: Sequence[str]
    computed: Sequence[str]
    is_keyless: bool
    key: str | None

    @property
    def reshapes(self) -> bool:
        """Whether Postgres refuses to mend it while views show the columns."""
        return bool(self.retyped.keys() - _DISTRUSTED or self.computed)

    def concerns_rows(self, *tables: Table) -> bool:
        """Whether one of these tables may have rows that do not hold to its definition."""
        return bool(self.is_keyless or self.required or self.retyped) and self.table in tables

    def note(self) -> str:
        """A sentence about it."""
        lost = [
            *(["its key"] if self.is_keyless else []),
            *(f"NOT NULL of {name}" for name in self.required),
            *(f"the default of {name}" for name in self.defaults),
            *(f"how {name} is generated" for name in self.computed),
            *(f"the type of {name} ({kind})" for name, kind in self.retyped.items()),
        ]
        words = f"{self.table.name}: somebody has taken away {', '.join(lost)}; it is given back"
        if self.is_keyless or self.required:
            words += ", and what did not hold to it is filled in or deleted, and read again"
        if self.retyped:
            words += ". What that has done to values, `vectorferry verify --everything --repair` finds and mends"
        return words

    def is_wrong(self) -> ColumnElement[bool]:
        """Of a row: nothing, or a second row, is where the definition allows none."""
        keys = [*self.table.primary_key.columns]
        nothing = [self.table.c[name].is_(None) for name in self.required]
        if not self.is_keyless:
            return or_(false(), *nothing, *self._misfits())
        other = self.table.alias()
        several = select(*(other.c[key.name] for key in keys)).group_by(*(other.c[key.name] for key in keys))
        return or_(tuple_(*keys).in_(several.having(func.count() > 1)), *nothing, *self._misfits())

    def concerns(self, ledger: Table) -> ColumnElement[bool]:
        """Of a row of a ledger: the asset has such rows."""
        table = self.table
        same = (table.c.collection == ledger.c.collection, table.c.asset_id == ledger.c.asset_id)
        return exists().where(*same, self.is_wrong())

    def steps(self) -> Iterator[str]:
        """What gives it back."""
        target = sql.Identifier(str(self.table.schema), self.table.name)
        keys = joined(column.name for column in self.table.primary_key.columns)
        yield from self._filling_steps(target)
        for misfit in self._misfits():
            words = str(misfit.compile(dialect=DIALECT, compile_kwargs={"literal_binds": True}))
            yield statement("DELETE FROM {} WHERE {}", target, fixed(words))
        if self.is_keyless:
            yield from self._single_steps(target, keys)
        if self.key is not None and (self.is_keyless or self.computed):
            yield statement("ALTER TABLE {} DROP CONSTRAINT {}", target, self.key)
        for name in self.computed:
            yield statement("ALTER TABLE {} DROP COLUMN {}", target, name)
        for name in self.retyped:
            kind = _kind(self.table.c[name])
            value = sql.SQL("CAST({} AS {})").format(sql.Identifier(name), fixed(kind.partition(" COLLATE ")[0]))
            yield statement("ALTER TABLE {} ALTER COLUMN {} TYPE {} USING {}", target, name, fixed(kind), value)
        for name in self.computed:  # again, from what it is generated of
            column = str(CreateColumn(self.table.c[name]).compile(dialect=DIALECT)).strip()
            yield statement("ALTER TABLE {} ADD COLUMN {}", target, fixed(column))
        for name in self.required:
            yield statement("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL", target, name)
        for name in self.defaults:
            default = fixed(_default(self.table.c[name]))
            yield statement("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT {}", target, name, default)
        if self.is_keyless or (self.computed and self.key is not None):
            added = AddConstraint(self.table.primary_key, isolate_from_table=False)
            yield str(added.compile(dialect=DIALECT)).strip()

    def _filling_steps(self, target: sql.Identifier) -> Iterator[str]:
        for name in self.required:
            filling = _filling(self.table, name)
            if filling is None:
                yield statement("DELETE FROM {} WHERE {} IS NULL", target, name)
                continue
            filled = {**self._distrusted(), name: filling}
            values = joined(sql.SQL("{} = {}").format(sql.Identifier(n), fixed(value)) for n, value in filled.items())
            yield statement("UPDATE {} SET {} WHERE {} IS NULL", target, values, name)

    def _single_steps(self, target: sql.Identifier, keys: sql.Composable) -> Iterator[str]:
        """Of rows with one key, nobody can say which is right: one stays, as one that is to be written again."""
        distrusted = self._distrusted()
        if "records" in self.table.c:
            distrusted["records"] = "'{}'"
        if distrusted:
            values = joined(sql.SQL("{} = {}").format(sql.Identifier(n), fixed(v)) for n, v in distrusted.items())
            yield statement(
                "UPDATE {table} SET {values} WHERE ({keys}) IN "
                "(SELECT {keys} FROM {table} GROUP BY {keys} HAVING count(*) > 1)",
                table=target,
                values=values,
                keys=keys,
            )
        yield statement(
            "DELETE FROM {table} WHERE ctid IN (SELECT ctid FROM (SELECT ctid, row_number() OVER "
            "(PARTITION BY {keys} ORDER BY ctid DESC) AS place FROM {table}) each WHERE place > 1)",
            table=target,
            keys=keys,
        )

    def _misfits(self) -> Iterator[ColumnElement[bool]]:
        """Of vectors of another dimension than their column is to have, which cannot be cast."""
        for name, kind in self.retyped.items():
            dimension = _DENSE.fullmatch(_plain(_kind(self.table.c[name])))
            if dimension and _DENSE.match(kind):
                numbers = func.string_to_array(cast(self.table.c[name], Text), literal(",", Text))
                yield func.cardinality(numbers, type_=Integer) != int(dimension[1])

    def _distrusted(self) -> dict[str, str]:
        """By column, what lets a record be read again, and written again."""
        return {column.name: "''" for column in self.table.columns if column.name in _DISTRUSTED}


_DENSE: Final = re.compile(r"(?:vector|halfvec)(?:\((\d+)\))?")

_NAMES_A_MODALITY: Final = ("records", "index_name")
"""A table of these columns has rows of features, each of a modality, and none of an unknown one."""


_NO_OTHERS: Final[Mapping[str, Collection[str]]] = {}


def stored_definitions(schema: str, tables: Iterable[str]) -> TextClause:
    """Asks what these tables have now, for `damages_in`."""
    return _DEFINITIONS.bindparams(schema=schema, tables=[*tables])


def damages_in(
    definitions: Iterable[Any], tables: Iterable[Table], others: Mapping[str, Collection[str]] = _NO_OTHERS
) -> list[Damage]:
    """What those of these tables lack that are there. By table, of `others` of its columns the types are no matter."""
    by_name = {table.name: table for table in tables}
    stored: dict[str, dict[str, Any]] = {}
    for row in definitions:
        stored.setdefault(row.table_name, {})[row.name] = row
    each = (_damage(by_name[name], columns, others.get(name, ())) for name, columns in stored.items())
    return [damage for damage in each if damage is not None]


def _damage(table: Table, stored: Mapping[str, Any], others: Collection[str]) -> Damage | None:
    columns = [column for column in table.columns if column.name in stored]
    keys = [column.name for column in table.primary_key.columns]
    key = next(iter(stored.values())).key
    by_place = sorted((row.place, name) for name, row in stored.items() if row.place is not None)
    is_whole = [name for _, name in by_place] == keys and (not keys or next(iter(stored.values())).is_whole)
    damage = Damage(
        table,
        {
            column.name: stored[column.name].kind
            for column in columns
            if column.name not in others and stored[column.name].kind.lower() != _plain(_kind(column))
        },
        [c.name for c in columns if not (c.nullable or stored[c.name].is_required)],
        [c.name for c in columns if _has_default(c) and not stored[c.name].has_default],
        [c.name for c in columns if c.computed is not None and not stored[c.name].is_computed],
        bool(keys) and not is_whole,
        key,
    )
    lost = (damage.retyped, damage.required, damage.defaults, damage.computed, damage.is_keyless)
    return damage if any(lost) else None


def _kind(column: Column[Any]) -> str:
    return str(column.type.compile(dialect=DIALECT))


def _plain(kind: str) -> str:
    """As Postgres calls it, without the schema of an extension."""
    return kind.rpartition(".")[2].replace('"', "").lower()


def _has_default(column: Column[Any]) -> bool:
    return column.server_default is not None and column.computed is None


def _default(column: Column[Any]) -> str:
    compiler = DIALECT.ddl_compiler(DIALECT, CreateTable(column.table))
    return str(compiler.get_column_default_string(column))


def _filling(table: Table, name: str) -> str | None:
    """What stands for nothing; None where a row without a value is none of ours."""
    column = table.c[name]
    is_owner = name == "modality" and any(each in table.c for each in _NAMES_A_MODALITY)
    if column.primary_key or is_owner:
        return None
    return next((filling for kind, filling in _FILLINGS if isinstance(column.type, kind)), None)
