"""``vectorferry status``: what the destinations hold."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import click
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vectorferry.connector._config import load_settings
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._engine import Fleet, fleets_of
from vectorferry.connector._engine._opening import destination_label, opened_at
from vectorferry.connector._model._errors import VectorferryError
from vectorferry.connector._protocols._destination import RecordedRun, Status, TableStatus
from vectorferry.connector._reports._progress import in_words
from vectorferry.connector.cli._console import (
    cell,
    complain,
    counted,
    make_table,
    plain,
    print_json,
    printable,
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
    workers: Annotated[
        bool, typer.Option("--workers", help="Show who works on what is shared just now, how fast, and how long yet.")
    ] = False,
    as_json: AsJson = False,
    prometheus: Annotated[bool, typer.Option("--prometheus", help="Print it as Prometheus reads it.")] = False,
    textfile: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write that to a file ending in .prom, for node_exporter's textfile collector."
        ),
    ] = None,
) -> None:
    """Show what each destination holds now."""
    if [as_json, prometheus, textfile is not None].count(True) > 1:
        raise click.UsageError("give one of --json, --prometheus, --textfile FILE")
    if runs and (prometheus or textfile is not None):
        raise click.UsageError("--runs is shown as a table or with --json; leave --prometheus and --textfile out")
    if textfile is not None and textfile.suffix != ".prom":
        raise click.UsageError("--textfile: node_exporter reads only files that end in .prom")
    settings = load_settings(config, name)
    if runs and workers:
        raise click.UsageError("give one of --runs, --workers")
    if runs:
        raise typer.Exit(_show_runs(settings, as_json))
    if workers:
        raise typer.Exit(_show_fleets(settings, as_json))
    answers = [_ask(settings, index) for index in range(len(settings.destinations))]
    failures = [answer for answer in answers if isinstance(answer, VectorferryError)]
    exit_code = max((failure.exit_code for failure in failures), default=0)
    if as_json:
        found = [_as_dict(answer, settings, index) for index, answer in enumerate(answers)]
        print_json({"sync": settings.name, "destinations": found, "exit_code": exit_code})
    elif prometheus or textfile:
        labels = [destination_label(each) for each in settings.destinations]
        text = "".join(f"{line}\n" for line in exposition(settings.name, labels, answers))
        if textfile:
            _replace(textfile, text)
        else:
            typer.echo(text, nl=False)
    else:
        for place, answer in enumerate(answers):
            _show(answer, destination_label(settings.destinations[place]), results())
    raise typer.Exit(exit_code)


Sample = tuple[dict[str, str], float]


def exposition(sync: str, labels: Sequence[str], answers: Sequence[Status | VectorferryError]) -> Iterator[str]:
    """Lines of Prometheus' text format: gauges, with a label for the sync and one for the destination."""
    asked = [({"sync": sync, "destination": label}, answer) for label, answer in zip(labels, answers, strict=True)]
    up = [(where, 0.0 if isinstance(answer, VectorferryError) else 1.0) for where, answer in asked]
    yield from _gauge("up", "whether the destination answered", up)
    reached = [(where, answer) for where, answer in asked if not isinstance(answer, VectorferryError)]
    yield from _gauge("assets", "assets that are stored", [each for item in reached for each in _assets(*item)])
    yield from _gauge(
        "rows", "rows of a table, or records of an index", [each for item in reached for each in _rows(*item)]
    )
    yield from _gauge(
        "quarantined", "records that are set aside", [(where, answer.quarantined) for where, answer in reached]
    )
    changes = [(where, answer.last_change.timestamp()) for where, answer in reached if answer.last_change]
    yield from _gauge("last_change_timestamp_seconds", "when something was last written", changes)


def _assets(where: dict[str, str], answer: Status) -> Iterator[Sample]:
    for collection, number in sorted(answer.assets.items()):
        yield {**where, "collection": collection}, number


def _rows(where: dict[str, str], answer: Status) -> Iterator[Sample]:
    for table in answer.tables:
        for collection, number in sorted(table.collections.items()):
            yield {**where, "table": table.name, "collection": collection}, number


def _gauge(name: str, explanation: str, samples: Sequence[Sample]) -> Iterator[str]:
    yield f"# HELP vectorferry_{name} {explanation}"
    yield f"# TYPE vectorferry_{name} gauge"
    for labels, value in samples:
        written = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        yield f"vectorferry_{name}{{{written}}} {value:.17g}"


def _escaped(text: str) -> str:
    """With every space, so that two names never become one; a line break as the format writes it."""
    lines = text.replace("\\", "\\\\").replace('"', '\\"').split("\n")
    return "\\n".join(map(printable, lines))


def _replace(path: Path, text: str) -> None:
    """Write a file in one step: what reads it must never meet half of it."""
    beside = path.with_suffix(".tmp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


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


def _show_fleets(settings: SyncSettings, as_json: bool) -> int:
    """What is shared just now, as the first destination says that has it; the exit code."""
    fleets: Sequence[Fleet] = ()
    errors: dict[str, VectorferryError] = {}
    for index, each in enumerate(settings.destinations):
        try:
            with opened_at(settings, index) as destination:
                fleets = fleets_of(destination)
        except VectorferryError as failure:
            errors[destination_label(each)] = failure
        if fleets:
            break
    exit_code = 0 if fleets else max((error.exit_code for error in errors.values()), default=0)
    if as_json:
        failed = {label: str(error) for label, error in errors.items()}
        runs = [fleet.to_dict() for fleet in fleets]
        print_json({"sync": settings.name, "runs": runs, "errors": failed, "exit_code": exit_code})
        return exit_code
    for label, error in errors.items():
        complain(f"{label}: {error}")
    for fleet in fleets:
        results().print(Text(_fleet_line(fleet)), soft_wrap=True)
        show_table(_fleet_table(fleet), results())
    if not fleets and not errors:
        results().print(f"no run of {settings.name} shares its work just now (sync --workers)", markup=False)
    return exit_code


def _fleet_line(fleet: Fleet) -> str:
    """``films: 8,400 of 20,000 assets done, 12 shards open, 3 claimed; 95 assets a second, about 2 min left``"""
    counts = f"{fleet.done:,} of {fleet.assets:,} {'assets' if fleet.listed else 'assets listed so far'} done"
    shards = f"{fleet.open:,} shards open, {fleet.claimed:,} claimed"
    rate = f"{fleet.rate:,.1f} assets a second" if fleet.rate else ""
    left = f"about {in_words(fleet.seconds_left)} left" if fleet.seconds_left else ""
    pace = ", ".join(filter(None, (rate, left)))
    return plain(f"{fleet.collection}: {'; '.join(filter(None, (f'{counts}, {shards}', pace)))}")


def _fleet_table(fleet: Fleet) -> Table:
    numbers = ("shards", "assets", "a second", "remaining")
    table = make_table("worker", *numbers, "at shards", "heard of", "", numbers=numbers)
    for worker in fleet.workers:
        heard = "" if worker.lease_seconds is None else f"lease {worker.lease_seconds:,.0f} s"
        table.add_row(
            cell(plain(worker.owner)),
            f"{worker.shards:,}",
            f"{worker.assets:,}",
            f"{worker.rate:,.1f}" if worker.rate else "",
            f"{worker.remaining:,}",
            cell(", ".join(map(str, worker.at))),
            cell(heard),
            cell(worker.remark),
        )
    return table


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
