"""``vectorferry vectors``: the tables of named vectors, one for each dimension; and those that nobody needs dropped."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Final

import click
import typer
from rich.table import Table

from vectorferry.connector._config import load_settings
from vectorferry.connector._engine._opening import opened
from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Destination, VectorTable
from vectorferry.connector.cli._console import cell, make_table, plain, print_json, results, show_table
from vectorferry.connector.cli._options import DEFAULT_CONFIG, AsJson, ConfigFile, SyncName, WhichDestination

vectors: Final = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    suggest_commands=False,
    help="Show the tables of named vectors, and drop retired ones.",
)


@vectors.command("list")
def list_(
    destination: WhichDestination = None,
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
    as_json: AsJson = False,
) -> None:
    """Show every table of named vectors, with the view that shows it."""
    with opened(load_settings(config, name), needs=Capability.VECTOR_TABLES, name=destination) as destinations:
        tables = {keeper.name: keeper.vector_tables() for keeper in destinations}
    if as_json:
        told = [{"destination": at, "tables": [*map(dataclasses.asdict, each)]} for at, each in tables.items()]
        print_json({"destinations": told, "exit_code": 0})
        return
    for at, each in tables.items():
        results().print(f"{plain(at)}:" if each else f"{plain(at)}: no vectors yet", markup=False)
        if each:
            show_table(_table(each), results())


@vectors.command()
def drop(
    table: Annotated[
        list[str] | None, typer.Argument(metavar="[TABLE]...", help="Tables that are retired, or have no row.")
    ] = None,
    retired: Annotated[bool, typer.Option("--retired", help="Every retired table.")] = False,
    destination: WhichDestination = None,
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
    as_json: AsJson = False,
) -> None:
    """Drop tables of vectors that nothing needs any more, with their views and functions."""
    if bool(table) == retired:
        raise click.UsageError("say which tables: TABLE; or --retired, and none of these")

    def tables_of(keeper: Destination) -> list[str]:
        return table or [each.table for each in keeper.vector_tables() if each.state == "retired"]

    with opened(load_settings(config, name), needs=Capability.VECTOR_TABLES, name=destination) as destinations:
        if table and len(destinations) > 1:
            names = ", ".join(keeper.name for keeper in destinations)
            raise ConfigurationError(
                f"several destinations have tables of vectors: say which with --destination: {names}"
            )
        dropped = {keeper.name: keeper.drop_vector_tables(tables_of(keeper)) for keeper in destinations}
    if as_json:
        told = {at: [*map(dataclasses.asdict, each)] for at, each in dropped.items()}
        print_json({"dropped": told, "exit_code": 0})
        return
    for at, each in dropped.items():
        names = ", ".join(one.table for one in each) or "nothing"
        results().print(f"{plain(at)}: {plain(names)} dropped", markup=False)


def _table(tables: Sequence[VectorTable]) -> Table:
    view = make_table("table", "storage", "rows", "superseded", "state", numbers=("rows", "superseded"))
    for each in tables:
        view.add_row(
            cell(plain(each.table)).append(f"\n{each.modality} {plain(each.vector_name)}", style="dim"),
            cell(plain(each.storage)),
            f"{each.rows:,}",
            f"{each.superseded:,}",
            each.state,
        )
    return view
