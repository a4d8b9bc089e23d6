"""``vectorferry indexes``: the vector indexes as they are, and building them anew."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from vectorferry.connector._config import load_settings
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._engine._opening import opened
from vectorferry.connector._model._errors import VectorferryError
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import IndexBuild, IndexProgress, VectorIndex
from vectorferry.connector.cli._console import (
    cell,
    counted,
    for_people,
    make_table,
    megabytes,
    plain,
    print_json,
    results,
    show_table,
)
from vectorferry.connector.cli._logging import PROGRESS, shows_bar
from vectorferry.connector.cli._options import DEFAULT_CONFIG, AsJson, ConfigFile, SyncName, WhichDestination

indexes: Final = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Show the vector indexes, and build them anew."
)
log = logging.getLogger(PROGRESS)

SECONDS_BETWEEN_LOOKS: Final = 1.0
LOOKS_BETWEEN_LINES: Final = 10


@indexes.command("list")
def list_(
    destination: WhichDestination = None,
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
    as_json: AsJson = False,
) -> None:
    """Show every vector index: its kind, size, rows, state, when it was built, and how far a build is."""
    with opened(load_settings(config, name), needs=Capability.INDEXES, name=destination) as destinations:
        stored = {keeper.name: keeper.vector_indexes() for keeper in destinations}
    if as_json:
        told = [{"destination": at, "indexes": [*map(dataclasses.asdict, each)]} for at, each in stored.items()]
        print_json({"destinations": told, "exit_code": 0})
        return
    for at, each in stored.items():
        results().print(f"{plain(at)}:" if each else f"{plain(at)}: no vector index yet", markup=False)
        if each:
            show_table(_table(each), results())
        for index in each:
            for line in _lines(index):
                results().print(Text(line), soft_wrap=True)


@indexes.command()
def rebuild(
    index: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Indexes, tables, views or named vectors; none: all."),
    ] = None,
    destination: WhichDestination = None,
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
    as_json: AsJson = False,
) -> None:
    """Build vector indexes anew, beside the old ones, which answer meanwhile. What is missing or broken is built."""
    built: dict[str, list[IndexBuild]] = {}
    settings = load_settings(config, name)
    with opened(settings, needs=Capability.INDEXES, name=destination) as destinations:
        for keeper in destinations:
            built[keeper.name] = []
            with _watched(settings, keeper.name):
                for build in keeper.rebuild_indexes(index or ()):
                    built[keeper.name].append(build)
                    log.info("%s", plain(f"{build.index}: built over {build.rows:,} rows in {build.seconds:,.1f} s"))
    if as_json:
        print_json({"built": {at: [*map(dataclasses.asdict, each)] for at, each in built.items()}, "exit_code": 0})
        return
    for at, each in built.items():
        names = ", ".join(f"{one.index} ({counted(one.rows, 'row')}, {one.seconds:,.1f} s)" for one in each)
        results().print(f"{plain(at)}: {plain(names or 'nothing')} built", markup=False, soft_wrap=True)


def _table(indexes: Sequence[VectorIndex]) -> Table:
    view = make_table("index", "kind", "size", "rows", "dead", "state", numbers=("size", "rows", "dead"))
    for each in indexes:
        view.add_row(
            cell(plain(each.name)).append(f"\n{plain(each.vector_name)}", style="dim"),
            cell(plain(each.kind)),
            megabytes(each.bytes),
            f"{each.rows:,}",
            f"{each.dead_share:.0%}",
            each.state,
        )
    return view


def _lines(index: VectorIndex) -> Iterator[str]:
    """What does not fit into the table."""
    if index.progress:
        yield f"{plain(index.name)}: {_progress(index.progress)}"
    elif index.built and index.built_rows is not None:
        yield f"{plain(index.name)}: built {index.built:%Y-%m-%d %H:%M} UTC over {counted(index.built_rows, 'row')}"
    yield from (f"{plain(index.name)}: {plain(advice)}" for advice in index.advice)


def _progress(progress: IndexProgress) -> str:
    share = "" if progress.share is None else f", {progress.share:.0%}"
    return f"{plain(progress.phase)}{share}, for {progress.seconds:,.0f} s"


@contextmanager
def _watched(settings: SyncSettings, destination: str) -> Iterator[None]:
    """Tell how far a build is, from another thread: where somebody watches in one line, else every ten seconds."""
    done, console = threading.Event(), for_people()
    with console.status("building") if console.is_terminal and shows_bar() else nullcontext() as status:

        def watch() -> None:
            # Whoever builds says what is wrong.
            with suppress(VectorferryError), opened(settings, name=destination) as watched:
                for look in itertools.count(1):
                    if done.wait(SECONDS_BETWEEN_LOOKS):
                        return
                    lines = [f"{plain(at)}: {_progress(each)}" for at, each in watched[0].index_progress().items()]
                    if status is not None and lines:
                        status.update(Text("; ".join(lines)))
                    elif look % LOOKS_BETWEEN_LINES == 0:
                        for line in lines:
                            log.info("%s", line)

        watcher = threading.Thread(target=watch, name="index progress", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()
