"""``vectorferry show``: the first rows of each table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text

from vectorferry.connector._config import load_settings
from vectorferry.connector._engine._opening import opened
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import SqlResult
from vectorferry.connector.cli._console import cell, make_table, plain, print_json, results, show_table
from vectorferry.connector.cli._options import DEFAULT_CONFIG, AsJson, ConfigFile, SyncName, WhichDestination

VALUE_SHOWN: Final = 60
LEFT_OUT: Final = frozenset({"row_hash", "vector_hash", "feature_key", "synced_at"})
"""Columns that say nothing to people; ``vectorferry sql`` has them."""


def show(
    table: Annotated[str | None, typer.Argument(metavar="[TABLE]", help="Only this table.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many rows of each.")] = 3,
    destination: WhichDestination = None,
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
    as_json: AsJson = False,
) -> None:
    """Show the first rows of each table, with the ids that other commands take."""
    with opened(load_settings(config, name), needs=Capability.SQL, name=destination) as destinations:
        tables = {keeper.name: keeper.first_rows(limit, table) for keeper in destinations}
    if as_json:
        told = [
            {"destination": at, "tables": {name: rows_as_dicts(result) for name, result in each.items()}}
            for at, each in tables.items()
        ]
        print_json({"destinations": told, "exit_code": 0})
        return
    for at, each in tables.items():
        for name_, result in each.items():
            _show(f"{at}: {name_}", result, results())


def rows_as_dicts(result: SqlResult) -> list[Mapping[str, Any]]:
    """Each row by column."""
    return [dict(zip(result.columns, map(readable, row), strict=True)) for row in result.rows]


def readable(value: Any) -> Any:
    """What is bytes in hexadecimal digits, as Postgres shows it."""
    return "\\x" + bytes(value).hex() if isinstance(value, bytes | memoryview) else value


def _show(title: str, result: SqlResult, console: Console) -> None:
    """A line per value, so that ids stand in full, whatever the width."""
    console.print(Text(f"{plain(title)}{'' if result.rows else ': no rows'}", style="bold"))
    for row in result.rows:
        view = make_table("column", "value", cut=("value",))
        for column, value in zip(result.columns, row, strict=True):
            if column not in LEFT_OUT and value is not None and value not in ({}, ""):
                view.add_row(cell(plain(column)), cell(plain(readable(value), VALUE_SHOWN)))
        show_table(view, console)
