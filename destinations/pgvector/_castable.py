"""Whether the values of a column can become another type, found out before it is changed."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import sql
from sqlalchemy import Table

from vectorferry.connector import ConfigurationError

from ._columns import as_text, cast_of

__all__ = ["check_castable"]

_CAN_BE_ASKED: Final = 160_000
"""The version of Postgres that brought pg_input_is_valid."""

_Driver = psycopg.Connection[tuple[object, ...]]


def check_castable(driver: _Driver, table: Table, column: str, held: str, wanted: str) -> None:
    """Raise `ConfigurationError`, with an example, when the type that is wanted cannot hold a value that is there.

    Servers before Postgres 16 tell the value, but not the feature that has it.
    """
    if wanted in ("text", "jsonb"):
        return
    quoted, there = f'"{column}"', sql.Identifier(str(table.schema), table.name)
    if driver.info.server_version < _CAN_BE_ASKED:
        _try(
            driver,
            table,
            column,
            sql.SQL("SELECT count({}) FROM {}").format(_cast(quoted, held, wanted), there),
            wanted,
        )
        return
    found = driver.execute(
        sql.SQL(
            "SELECT asset_id, feature_id, left({text}, 60) FROM {table} "
            "WHERE {column} IS NOT NULL AND NOT pg_input_is_valid({text}, {type}) LIMIT 1"
        ).format(
            text=_fixed(as_text(quoted, held)), table=there, column=sql.Identifier(column), type=sql.Literal(wanted)
        )
    ).fetchone()
    if found is not None:
        raise _refusal(table, column, wanted, f"feature {found[1]} of asset {found[0]} has {found[2]!r}")


def _try(driver: _Driver, table: Table, column: str, statement: sql.Composed, wanted: str) -> None:
    try:
        with driver.transaction():
            driver.execute(statement)
    except psycopg.DataError as error:
        raise _refusal(table, column, wanted, error.diag.message_primary or str(error)) from error


def _refusal(table: Table, column: str, wanted: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the column {table.schema}.{table.name}.{column} cannot become {wanted}: {why}. Nothing was changed. "
        "Map the field to a column of another name, or change the mapping back."
    )


def _cast(quoted: str, held: str, wanted: str) -> sql.SQL:
    return _fixed(cast_of(quoted, held, wanted))


def _fixed(text: Any) -> sql.SQL:
    """An expression of ours. psycopg wants SQL to be literal, which a name in it is not."""
    return sql.SQL(text)
