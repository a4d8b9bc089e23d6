"""``vectorferry plan``: what a sync would do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Final

import click
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vectorferry.connector._config import load_settings
from vectorferry.connector._config._settings import DeleteMode
from vectorferry.connector._engine import SyncOptions, run_plan, run_scale
from vectorferry.connector._protocols._destination import IndexAdvice, PlannedIndex
from vectorferry.connector._reports._plan import CollectionPlan, DestinationPlan, Plan, WriteEstimate
from vectorferry.connector._reports._progress import in_words
from vectorferry.connector._reports._scale import Scale, bytes_in_words, long_time
from vectorferry.connector.cli._console import (
    cell,
    counted,
    end_with,
    make_table,
    megabytes,
    plain,
    print_json,
    results,
    show_table,
)
from vectorferry.connector.cli._options import (
    DEFAULT_CONFIG,
    AllowDeletes,
    AllowDeletesOf,
    AsJson,
    Collections,
    ConfigFile,
    Full,
    Number,
    SyncName,
    allowing_deletes,
    collection_ids,
)
from vectorferry.connector.cli._progress import progress_bar
from vectorferry.connector.cli._summary_view import collection_warnings, related_lines, related_warnings, scan_kind


def plan(
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
    collection: Collections = None,
    full: Full = False,
    allow_deletes: AllowDeletes = None,
    allow_deletes_of: AllowDeletesOf = None,
    at: Annotated[
        float | None,
        typer.Option(
            "--at",
            metavar="FEATURES",
            click_type=Number(1, 1e12),
            help="What a first sync of so many would take: 1e9.",
        ),
    ] = None,
    dimension: Annotated[
        int | None,
        typer.Option("--dimension", metavar="N", min=1, max=100_000, help="Of the dense vectors, for --at."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a sync would do, and change nothing."""
    settings = allowing_deletes(load_settings(config, name), allow_deletes, allow_deletes_of)
    if at is not None:
        estimated = run_scale(settings, round(at), dimension, environ=os.environ)
        print_json(estimated.to_dict()) if as_json else show_scale(estimated, results())
        return
    if dimension is not None:
        raise click.UsageError("--dimension goes with --at")
    chosen = collection_ids(settings, collection)
    with progress_bar() as progress:
        planned = run_plan(settings, SyncOptions(collections=chosen, full=full), environ=os.environ, progress=progress)
    end_with(planned, show_plan, as_json=as_json)


COLLECTIONS_SHOWN: Final = 20
STATEMENTS_SHOWN: Final = 25
ADVICE_SHOWN: Final = 25
DONE: Final[Mapping[DeleteMode, str]] = {"keep": "kept", "tombstone": "hidden"}
TO_DO: Final[Mapping[DeleteMode, str]] = {"prune": "to delete", "tombstone": "to hide", "keep": "to delete"}


def show_plan(plan: Plan, console: Console) -> None:
    """What would be read, then what each destination would be given and would do, then what needs attention."""
    show_table(_collections(plan.collections), console)
    for line in _scans(plan.collections):
        console.print(Text(line), soft_wrap=True)
    console.print(Text(_reading(plan)), soft_wrap=True)
    for name, destination in plan.destinations.items():
        for line in _destination_lines(plain(name), destination, _mode(name, plan.collections)):
            console.print(Text(line), soft_wrap=True)
    for line in related_lines(plan.related, planned=True):
        console.print(Text(line), soft_wrap=True)
    for line in _warnings(plan):
        console.print(Text(line), style="yellow", soft_wrap=True)


def _collections(collections: Mapping[str, CollectionPlan]) -> Table:
    numbers = ("listed", "unchanged", "new", "changed", "to delete")
    table = make_table("collection", *numbers, numbers=numbers, cut=("collection",))
    for name, each in list(collections.items())[:COLLECTIONS_SHOWN]:
        counts = (each.listed, each.unchanged, each.new, each.changed)
        table.add_row(cell(plain(name)), *(f"{count:,}" for count in counts), _deletes(each))
    if len(collections) > COLLECTIONS_SHOWN:
        table.add_row(cell(f"… and {len(collections) - COLLECTIONS_SHOWN:,} more"), *("" for _ in numbers))
    return table


def _scans(collections: Mapping[str, CollectionPlan]) -> Iterator[str]:
    for name, each in list(collections.items())[:COLLECTIONS_SHOWN]:
        if told := scan_kind(each):
            yield f"{plain(name)}: a sync lists {told}"
        if each.reread:
            yield f"{plain(name)}: {each.reread:,} of the changed ones seem unchanged, but are due to be read again"
        if each.over_limit:
            more = "have more features than limits.features_per_asset: they are set aside unless that has changed"
            yield f"{plain(name)}: {each.over_limit:,} of the changed ones {more}"


def _deletes(plan: CollectionPlan) -> str:
    """The most of any destination: they are the same ones where all destinations have the same assets."""
    if not plan.complete:
        return "unknown"
    missing = max((each.missing for each in plan.deletes.values()), default=0)
    modes = {each.mode for each in plan.deletes.values() if each.missing}
    done = "refused" if plan.refused else next((DONE[mode] for mode in DONE if mode in modes), None)
    return f"{missing:,}, {done}" if done else f"{missing:,}"


def _mode(name: str, collections: Mapping[str, CollectionPlan]) -> DeleteMode:
    """What a destination does with assets that the source no longer has."""
    return next((each.deletes[name].mode for each in collections.values() if name in each.deletes), "prune")


def _reading(plan: Plan) -> str:
    reads, assets = plan.reads, sum(each.to_pull for each in plan.collections.values())
    listing = f"{counted(reads.listing, 'request')} to list"
    if not assets:
        return f"{listing}, nothing to read"
    if reads.features is None:
        return f"{listing}, {counted(assets, 'asset')} to read; with how many features, nothing stored tells"
    asked = "" if reads.reading is None else f" in about {counted(reads.reading, 'request')}"
    took = "" if reads.seconds is None else f"; about {in_words(reads.seconds)} in all"
    return f"{listing}, {counted(assets, 'asset')} with about {counted(reads.features, 'feature')} to read{asked}{took}"


def _destination_lines(name: str, plan: DestinationPlan, mode: DeleteMode) -> Iterator[str]:
    if plan.error:
        return
    if plan.new or plan.changed or plan.deleted:
        yield (
            f"{name}: {counted(plan.new, 'new asset')}, {plan.changed:,} changed, {plan.deleted:,} {TO_DO[mode]}; "
            f"{_writing(plan.writes)}"
        )
    else:
        yield f"{name}: no asset to write, {counted(plan.unchanged, 'asset')} unchanged"
    # What a column says of itself is not what anybody looks for here.
    shown_statements = [each for each in plan.statements if not each.startswith("COMMENT ON ")][:STATEMENTS_SHOWN]
    for statement in shown_statements:
        yield f"  {_first_line(statement)}"
    if left := len(plan.statements) - len(shown_statements):
        yield f"  … and {left:,} more statements, all of them with --json"
    yield from (f"  {_index(index)}" for index in plan.indexes)
    shown = [*plan.index_advice][:ADVICE_SHOWN]
    yield from (f"  {_advice(each)}" for each in shown)
    if len(plan.index_advice) > len(shown):
        yield f"  … and {len(plan.index_advice) - len(shown):,} more named vectors, all of them with --json"
    yield from (f"  {plain(note)}" for note in plan.notes)


def _writing(writes: WriteEstimate) -> str:
    if writes.features is None:
        return "how much that is, nothing stored here tells"
    rows = "" if writes.rows is None else f" in {writes.rows:,} rows"
    size = "" if writes.bytes is None else f", {megabytes(writes.bytes)}"
    return f"about {counted(writes.features, 'feature')}{rows}{size}"


def _index(index: PlannedIndex) -> str:
    return (
        f"{index.method} index {plain(index.index)} over the {counted(index.rows, 'row')} that are there now: "
        f"a graph of about {megabytes(index.graph_bytes)}, built with {megabytes(index.memory_bytes)} of memory"
    )


def _advice(advice: IndexAdvice) -> str:
    size = "sparse" if advice.dimension is None else f"× {advice.dimension:,}"
    vectors = f"{plain(advice.table)}: {advice.rows:,} {size}"
    if advice.index == "none":
        return f"{vectors}, no index: {plain(advice.advice)}"
    takes = f"{megabytes(advice.index_bytes)}, built in about {in_words(advice.build_seconds)}"
    return f"{vectors}, {advice.index} of about {takes}: {plain(advice.advice)}"


def _first_line(statement: str) -> str:
    first = plain(statement.strip().splitlines()[0])
    return first.removesuffix("(").rstrip()


def _warnings(plan: Plan) -> Iterator[str]:
    for name, seen in plan.collections.items():
        yield from collection_warnings(plain(name), seen)
        for destination, deletes in seen.deletes.items():
            if deletes.refusal:
                yield f"{plain(name)}: a sync would delete nothing: {plain(destination)}: {plain(deletes.refusal)}"
    yield from related_warnings(plan.related)
    for name, each in plan.destinations.items():
        if each.error:
            yield f"{plain(name)}: failed: {plain(each.error)}"
        if each.refusal:
            yield f"{plain(name)}: a sync would be refused: {plain(each.refusal)}"


def show_scale(scale: Scale, console: Console) -> None:
    """Each leg in a row, the sum, and what will not fit."""
    numbers = ("time", "requests", "sent", "stored", "memory")
    table = make_table("leg", *numbers, "bound by", numbers=numbers, cut=("bound by",))
    for leg in scale.legs:
        sizes = (bytes_in_words(size) for size in (leg.bytes, leg.stored_bytes, leg.memory_bytes))
        requests = "" if leg.requests is None else f"{leg.requests:,}"
        table.add_row(cell(plain(leg.name)), long_time(leg.seconds), requests, *sizes, cell(plain(leg.bound)))
    show_table(table, console)
    vectors = ", ".join(f"{plain(each.name)} ({each.dimension or 'sparse'})" for each in scale.load.vectors)
    like = "as many as are stored on average" if scale.measured else "as is usual; nothing stored tells"
    dollars = "" if scale.dollars is None else f", from ${scale.dollars:,.0f} of what has a known price"
    lines = [
        f"{counted(scale.load.features, 'feature')} of {counted(scale.load.assets, 'asset')}, {like}: {vectors}",
        f"a first sync takes about {long_time(scale.seconds)}{dollars}",
    ]
    for line in lines:
        console.print(Text(line), soft_wrap=True)
    for misfit in scale.misfits:
        console.print(Text(plain(misfit)), style="yellow", soft_wrap=True)
