"""``vectorferry status``: what the destinations hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vectorferry.connector._config import load_settings
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._engine._opening import destination_label, opened_at
from vectorferry.connector._model._errors import VectorferryError
from vectorferry.connector._protocols._destination import RecordedRun, Status, TableStatus
from vectorferry.connector.cli._console import (
    cell,
    complain,
    counted,
    make_table,
    plain,
    print_json,
    results,
    show_table,
)
from vectorferry.connector.cli._options import DEFAULT_CONFIG, AsJson, ConfigFile, SyncName

COLLECTIONS_SHOWN: Final = 12
RUNS_SHOWN: Final = 20
TIMES: Final = ("started_at", "ended_at", "recorded_at")
CURRENT: Final = "current"
"""The state of a table that needs no mention: there is no other one for this vector, or it is the one that is shown."""


def status(
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
    runs: Annotated[
        bool, typer.Option("--runs", help="Show the last runs instead: what became of each collection.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what each destination holds now."""
    settings = load_settings(config, name)
    if runs:
        raise typer.Exit(_show_runs(settings, as_json))
    answers = [_ask(settings, index) for index in range(len(settings.destinations))]
    failures = [answer for answer in answers if isinstance(answer, VectorferryError)]
    exit_code = max((failure.exit_code for failure in failures), default=0)
    if as_json:
        found = [_as_dict(answer, settings, index) for index, answer in enumerate(answers)]
        print_json({"sync": settings.name, "destinations": found, "exit_code": exit_code})
    else:
        for place, answer in enumerate(answers):
            _show(answer, destination_label(settings.destinations[place]), results())
    raise typer.Exit(exit_code)


def _ask(settings: SyncSettings, index: int) -> Status | VectorferryError:
    """One destination that cannot be reached must not hide the others."""
    try:
        with opened_at(settings, index) as destination:
            return destination.status()
    except VectorferryError as error:
        return error


def _show_runs(settings: SyncSettings, as_json: bool) -> int:
    """The newest runs in the books of each destination that keeps them; the exit code."""
    answers = [_ask_runs(settings, index) for index in range(len(settings.destinations))]
    exit_code = max((answer.exit_code for answer in answers if isinstance(answer, VectorferryError)), default=0)
    labels = [destination_label(each) for each in settings.destinations]
    if as_json:
        found = [
            {"destination": label, "error": str(answer)}
            if isinstance(answer, VectorferryError)
            else {"destination": label, "runs": [_run_as_dict(run) for run in answer]}
            for label, answer in zip(labels, answers, strict=True)
        ]
        print_json({"sync": settings.name, "destinations": found, "exit_code": exit_code})
        return exit_code
    for label, answer in zip(labels, answers, strict=True):
        if isinstance(answer, VectorferryError):
            complain(f"{label}: {answer}")
        elif answer:
            results().print(Text(plain(label)))
            show_table(_runs_table(answer), results())
        else:
            results().print(Text(f"{plain(label)}: no run is recorded"))
    return exit_code


def _ask_runs(settings: SyncSettings, index: int) -> Sequence[RecordedRun] | VectorferryError:
    try:
        with opened_at(settings, index) as destination:
            return destination.runs(limit=RUNS_SHOWN)
    except VectorferryError as error:
        return error


def _run_as_dict(run: RecordedRun) -> Mapping[str, Any]:
    times = {name: value.isoformat() for name in TIMES if (value := getattr(run, name)) is not None}
    return {**dataclasses.asdict(run), **times}


def _runs_table(runs: Sequence[RecordedRun]) -> Table:
    numbers = ("seconds", "listed", "read", "written")
    table = make_table("started", "collection", "state", "by", *numbers, "run", numbers=numbers)
    for run in runs:
        features = run.counts.get("features", {}).values()
        written = sum(each.get("inserted", 0) + each.get("updated", 0) for each in features)
        table.add_row(
            cell(f"{run.started_at.astimezone():%m-%d %H:%M:%S}"),
            cell(plain(run.collection)),
            cell(run.state),
            cell(plain(run.started_by)),
            f"{(run.ended_at - run.started_at).total_seconds():,.1f}",
            *(f"{count:,}" for count in (run.counts.get("listed", 0), run.counts.get("pulled", 0), written)),
            cell(plain(run.run_id)),
        )
    return table


def _as_dict(answer: Status | VectorferryError, settings: SyncSettings, index: int) -> Mapping[str, Any]:
    if isinstance(answer, VectorferryError):
        return {"destination": settings.destinations[index].type, "error": str(answer)}
    return dataclasses.asdict(answer)


def _show(answer: Status | VectorferryError, label: str, console: Console) -> None:
    if isinstance(answer, VectorferryError):
        complain(f"{label}: {answer}")
        return
    console.print(Text(f"{plain(answer.destination)}: {plain(answer.location)}"), soft_wrap=True)
    if not answer.assets and not any(table.rows for table in answer.tables):
        console.print("nothing synced yet; run `vectorferry sync`", markup=False)
    else:
        show_table(_table(answer), console)
        console.print(Text(_last_change(answer)))
    if answer.quarantined:
        records = counted(answer.quarantined, "record")
        console.print(Text(f"{records} in quarantine: vectorferry quarantine list"), style="yellow")


def _table(answer: Status) -> Table:
    table = make_table("table", "collection", "rows", "details", numbers=("rows",), cut=("details",))
    _add(table, "assets", answer.assets, "")
    for entry in answer.tables:
        _add(table, entry.name, entry.collections, _details(entry))
    for name, rows in answer.related.items():
        table.add_row(cell(plain(name)), cell(""), f"{rows:,}", cell(""))
    return table


def _details(entry: TableStatus) -> str:
    """Where the entry is an index itself, its name already stands in front."""
    told = [entry.details[key] for key in ("storage", "metric", "index") if key in entry.details]
    if (state := entry.details.get("state", CURRENT)) != CURRENT:
        told.append(state)
    return ", ".join(plain(detail) for detail in told if detail != entry.name)


def _add(table: Table, name: str, collections: Mapping[str, int], details: str) -> None:
    """The name and details stand once, beside the first collection; very many collections are only added up."""
    if len(collections) > COLLECTIONS_SHOWN:
        collections = {f"all {len(collections):,}": sum(collections.values())}
    for collection, rows in sorted(collections.items()):
        table.add_row(cell(plain(name)), cell(plain(collection)), f"{rows:,}", Text(details))
        name = details = ""


def _last_change(answer: Status) -> str:
    if answer.last_change is None:
        return "last change: none recorded"
    return f"last change: {answer.last_change.astimezone():%Y-%m-%d %H:%M:%S %Z}"
