"""``vectorferry sql``: psql on the sync's database, one statement, or a small prompt; and what there is to ask."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any, Final

import click
import typer
import yaml
from rich.console import Console
from rich.text import Text

from vectorferry.connector._config import load_settings
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._engine._opening import opened
from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import (
    Destination,
    FunctionDescription,
    RelationDescription,
    SchemaDescription,
    SqlResult,
)
from vectorferry.connector.cli._console import (
    cell,
    complain,
    counted,
    for_people,
    make_table,
    plain,
    print_json,
    results,
    show_table,
)
from vectorferry.connector.cli._options import DEFAULT_CONFIG, AsJson, ConfigFile, SyncName, WhichDestination
from vectorferry.connector.cli._show import readable, rows_as_dicts


class DocsFormat(StrEnum):
    """What a description is written as."""

    MARKDOWN = "markdown"
    DBT = "dbt"


VALUE_SHOWN: Final = 60
OWN: Final = "_sync_"


def sql(
    topic: Annotated[
        str | None, typer.Argument(metavar="[docs]", help="docs: describe tables, views, columns and functions.")
    ] = None,
    execute: Annotated[
        str | None, typer.Option("--execute", "-e", metavar="SQL", help="Run this, and show what it gives.")
    ] = None,
    format_: Annotated[
        DocsFormat, typer.Option("--format", help="Of docs: markdown, or a sources.yml for dbt.")
    ] = DocsFormat.MARKDOWN,
    destination: WhichDestination = None,
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
    as_json: AsJson = False,
) -> None:
    """Ask the sync's database in SQL: psql, a statement, or a small prompt; and describe what there is."""
    if topic not in {None, "docs"}:
        raise click.UsageError(f"{topic} is neither docs nor an option; a statement goes behind -e")
    if topic and execute is not None:
        raise click.UsageError("docs runs no statement: leave one of them out")
    if as_json and not topic and execute is None:
        raise click.UsageError("--json goes with docs, or with --execute SQL")
    with _sql_destination(load_settings(config, name), destination) as keeper:
        if topic:
            _print_docs(keeper.describe(), format_, as_json=as_json)
        elif execute is not None:
            _execute(keeper, execute, as_json=as_json)
        else:
            raise typer.Exit(_converse(keeper))


@contextmanager
def _sql_destination(settings: SyncSettings, destination: str | None) -> Iterator[Destination]:
    with opened(settings, needs=Capability.SQL, name=destination) as destinations:
        if len(destinations) > 1:
            names = ", ".join(keeper.name for keeper in destinations)
            raise ConfigurationError(f"several destinations are asked in SQL: say which with --destination: {names}")
        yield destinations[0]


# A statement, and what it gives.


def _execute(keeper: Destination, statements: str, *, as_json: bool) -> None:
    answers = [*keeper.run_sql(statements)]
    if as_json:
        told = [{"columns": each.columns, "rows": rows_as_dicts(each), "status": each.status} for each in answers]
        print_json({"results": told, "exit_code": 0})
        return
    for each in answers:
        _show(each, results())


def _show(result: SqlResult, console: Console) -> None:
    if not result.columns:
        console.print(Text(plain(result.status)))
        return
    numbers = tuple(
        name
        for place, name in enumerate(result.columns)
        if result.rows and all(isinstance(row[place], int | float) for row in result.rows)
    )
    table = make_table(*map(plain, result.columns), numbers=numbers)
    for row in result.rows:
        table.add_row(*(cell("" if value is None else plain(readable(value), VALUE_SHOWN)) for value in row))
    show_table(table, console)
    console.print(Text(counted(len(result.rows), "row")))


# A conversation: psql's, or one of our own.


def _converse(keeper: Destination) -> int:
    psql = shutil.which("psql")
    if psql is None:
        return _prompt(keeper)
    with keeper.sql_environment() as variables:
        return _run(psql, variables)


def _run(psql: str, variables: Mapping[str, str]) -> int:
    """Its exit code. While it runs, Ctrl-C is psql's, which ends a query by it; an embedded server lives on."""
    process = subprocess.Popen([psql], env={**os.environ, **variables})
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def _prompt(keeper: Destination) -> int:
    r"""Statements until ``\q`` or the end of what is typed, each up to its semicolon at the end of a line; one that is
    refused ends nothing, unless nobody watches. What is piped in is run as it is."""
    if not sys.stdin.isatty():
        _execute(keeper, sys.stdin.read(), as_json=False)
        return 0
    for_people().print(Text("psql is not installed: a small prompt. End statements with ; and leave with \\q"))
    for statement in _typed():
        try:
            _execute(keeper, statement, as_json=False)
        except ConfigurationError as error:
            complain(str(error))
    return 0


def _typed() -> Iterator[str]:
    lines: list[str] = []
    while True:
        try:
            line = input("... " if lines else "sql> ")
        except EOFError:
            return
        if line.strip() == "\\q":
            return
        if line.strip() or lines:
            lines.append(line)
        if line.rstrip().endswith(";"):
            yield "\n".join(lines)
            lines.clear()


# What there is to ask, for people and for dbt.


def _print_docs(description: SchemaDescription, format_: DocsFormat, *, as_json: bool) -> None:
    if as_json:
        print_json({**dataclasses.asdict(description), "exit_code": 0})
    elif format_ is DocsFormat.DBT:
        typer.echo(dbt_sources(description), nl=False)
    else:
        typer.echo(markdown(description))


def markdown(description: SchemaDescription) -> str:
    """Tables, views and functions that people query, and in a list what the sync keeps for itself."""
    relations = [each for each in description.relations if not each.name.startswith(OWN)]
    functions = [each for each in description.functions if not each.name.startswith(OWN)]
    own = [each for each in description.relations if each.name.startswith(OWN)]
    parts = [f"# The schema `{_code(description.schema)}`"]
    for title, kind in (("Tables", "table"), ("Views", "view")):
        if shown := [each for each in relations if each.kind == kind]:
            parts += [f"## {title}", *map(_relation_markdown, shown)]
    if functions:
        parts += ["## Functions", *map(_function_markdown, functions)]
    if own:
        lines = [f"* `{_code(each.name)}`: {_prose(each.comment)}" for each in own]
        parts += ["## Of the sync itself", "\n".join(lines)]
    return "\n\n".join(parts)


def _relation_markdown(relation: RelationDescription) -> str:
    key = f"\n\nKey: {', '.join(f'`{_code(name)}`' for name in relation.key)}" if relation.key else ""
    rows = [f"| `{_code(c.name)}` | {_code(c.type)} | {_prose(c.comment)} |" for c in relation.columns]
    table = "\n".join(["| column | type | |", "|---|---|---|", *rows])
    return f"### `{_code(relation.name)}`\n\n{_prose(relation.comment)}{key}\n\n{table}"


def _function_markdown(function: FunctionDescription) -> str:
    call = f"{function.name}({function.arguments})\n    RETURNS {function.returns}"
    return f"### `{_code(function.name)}`\n\n{_prose(function.comment)}\n\n```sql\n{call}\n```"


def _code(text: str) -> str:
    return plain(text).replace("`", "'").replace("|", "\\|")


def _prose(text: str) -> str:
    """A comment in a line, of which Markdown takes nothing for its own."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", plain(text))


def dbt_sources(description: SchemaDescription) -> str:
    """A ``sources.yml`` of dbt's, for its `source()` function, with freshness by when assets were last written."""
    tables = [_dbt_table(each) for each in description.relations if not each.name.startswith(OWN)]
    source = {
        "name": description.schema,
        "schema": description.schema,
        "description": "Media assets, their features and named vectors, as vectorferry syncs them.",
        "tables": tables,
    }
    return yaml.safe_dump({"version": 2, "sources": [source]}, sort_keys=False, allow_unicode=True, width=100)


def _dbt_table(relation: RelationDescription) -> dict[str, Any]:
    columns = [
        {"name": each.name, "data_type": each.type, **_dbt_description(each.comment)} for each in relation.columns
    ]
    freshness = {"loaded_at_field": "synced_at"} if any(c.name == "synced_at" for c in relation.columns) else {}
    return {"name": relation.name, **_dbt_description(relation.comment), **freshness, "columns": columns}


def _dbt_description(comment: str) -> dict[str, str]:
    """dbt takes a description for a template of Jinja's."""
    return {"description": re.sub(r"\{(?=[{%#])", "{ ", plain(comment))} if comment else {}
