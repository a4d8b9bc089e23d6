"""What a mapping changes in the columns of a modality's table, as statements. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Dialect, Table

from vectorferry.connector import ColumnMapping, ConfigurationError

from .._postgres import add_column
from ._schema import DELETED_AT, FEATURE_KEY, FIXED_FEATURE_COLUMNS, column_name
from ._sql_view import sql_type

__all__ = ["ColumnChanges", "as_text", "cast_of", "column_changes", "statements_to_change"]

_TIME: Final = ColumnMapping(path=DELETED_AT, type="timestamptz")


@dataclass(frozen=True, slots=True)
class ColumnChanges:
    """Old names and the new ones in their place; columns that go; new types by name, after renaming; columns that
    come."""

    renamed: Mapping[str, str]
    dropped: Sequence[str]
    retyped: Mapping[str, str]
    added: Sequence[str]

    def retyped_from(self) -> dict[str, str]:
        """New types by the names before renaming."""
        before = {name: old for old, name in self.renamed.items()}
        return {before.get(name, name): kind for name, kind in self.retyped.items()}

    @property
    def touches_views(self) -> bool:
        """Whether Postgres refuses it while views show the columns."""
        return bool(self.dropped or self.retyped)


def column_changes(
    table: Table,
    held: Mapping[str, str],
    recorded: Mapping[str, ColumnMapping] | None,
    columns: Mapping[str, ColumnMapping],
) -> ColumnChanges:
    """From the columns that a table has, by type, to those that are mapped now. What was `recorded` as mapped before is
    renamed (where the path is mapped to another name now) or dropped; other columns are somebody else's. Where nothing
    was recorded (None), what is mapped now is taken for ours.

    Raises `ConfigurationError` for a table that is not ours, and for somebody else's column of another type.
    """
    _check_fixed_columns(table, held)
    ours = columns if recorded is None else recorded
    gone = [name for name in ours if name in held and name not in columns]
    new = [name for name in {DELETED_AT: _TIME, **columns} if name not in held]
    renamed: dict[str, str] = {}
    for name in new:
        same_path = [old for old in gone if name in columns and ours[old].path == columns[name].path]
        if len(same_path) == 1 and same_path[0] not in renamed:
            renamed[same_path[0]] = name
    then = {renamed.get(name, name): kind for name, kind in held.items()}
    retyped = {name: c.type for name, c in columns.items() if name in then and then[name] != sql_type(c.type)}
    _check_ours(table, then, retyped, {*ours, *renamed.values()})
    return ColumnChanges(
        renamed=renamed,
        dropped=[name for name in gone if name not in renamed],
        retyped=retyped,
        added=[name for name in new if name not in renamed.values()],
    )


def statements_to_change(
    dialect: Dialect, table: Table, held: Mapping[str, str], changes: ColumnChanges
) -> Iterator[str]:
    """The statements that make these changes, in their order."""
    preparer = dialect.identifier_preparer
    name_of = preparer.format_table(table)

    def quote(name: str) -> str:
        return preparer.quote(column_name(name))

    for old, name in changes.renamed.items():
        yield f"ALTER TABLE {name_of} RENAME COLUMN {quote(old)} TO {quote(name)}"
    for name in changes.dropped:
        yield f"ALTER TABLE {name_of} DROP COLUMN {quote(name)}"
    then = {changes.renamed.get(name, name): kind for name, kind in held.items()}
    for name, kind in changes.retyped.items():
        using = cast_of(quote(name), then[name], kind)
        yield f"ALTER TABLE {name_of} ALTER COLUMN {quote(name)} TYPE {kind} USING {using}"
    for name in changes.added:
        yield add_column(dialect, table, name)


def cast_of(column: str, held: str, wanted: str) -> str:
    """An expression that turns a quoted column into another type. It goes through text, so that what would lose
    something (1.5 as an integer) is refused and not rounded."""
    if wanted == "jsonb":
        return f"to_jsonb({column})"
    text = as_text(column, held)
    return text if wanted == "text" else f"CAST({text} AS {wanted})"


def as_text(column: str, held: str) -> str:
    """An expression for the text of a quoted column; of a text in JSON, without quotes."""
    return f"({column} #>> '{{}}')" if held == "jsonb" else f"CAST({column} AS text)"


def _check_ours(table: Table, held: Mapping[str, str], retyped: Mapping[str, str], ours: Set[str]) -> None:
    for name, kind in retyped.items():
        if name not in ours:
            raise ConfigurationError(
                f"the column {table.schema}.{table.name}.{name} was not made by Vectorferry and is {held[name]}, the "
                f"mapping says {kind}. Map the field to a column of another name, or to this type."
            )


def _check_fixed_columns(table: Table, held: Mapping[str, object]) -> None:
    missing = [name for name in FIXED_FEATURE_COLUMNS if name not in held]
    if missing == [FEATURE_KEY]:
        raise ConfigurationError(
            f"the table {table.schema}.{table.name} was made by an early version of Vectorferry, whose tables are not "
            f"brought up to date (no column {FEATURE_KEY}). Sync into another `schema`, or drop it and sync anew: "
            f"DROP SCHEMA {table.schema} CASCADE;"
        )
    if missing:
        raise ConfigurationError(
            f"the table {table.schema}.{table.name} exists and was not made by Vectorferry (no column {missing[0]}). "
            "Rename it, give the modality another `table`, or sync into another `schema`."
        )
