"""``vectorferry sync``: one run."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import click
import typer
from click.core import ParameterSource

from vectorferry.connector._config import load_settings
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._engine import JoinOptions, Reread, SyncOptions, WorkerProcesses, run_join, run_sync
from vectorferry.connector._engine.sync._options import LEASE
from vectorferry.connector._model._records import MODALITIES, Modality
from vectorferry.connector.cli._console import counted, end_with, plain, print_json, results
from vectorferry.connector.cli._logging import PROGRESS
from vectorferry.connector.cli._options import (
    DEFAULT_CONFIG,
    AllowDeletes,
    AllowDeletesOf,
    AsJson,
    Collections,
    ConfigFile,
    Full,
    LockWait,
    Number,
    SyncName,
    VisibleTimeout,
    WaitVisible,
    allowing_deletes,
    collection_ids,
)
from vectorferry.connector.cli._progress import progress_bar
from vectorferry.connector.cli._summary_view import show_summary

log = logging.getLogger(PROGRESS)

_OF_HELPERS: Final = frozenset(
    ("config", "name", "collection", "lock_wait", "join", "as_json", "verbose", "quiet", "log_format", "log_file")
)
"""What a worker that joins decides itself; everything else is what the run that it helps was started with."""


def sync(  # noqa: PLR0913, PLR0917 - one parameter per option
    context: typer.Context,
    asset_id: Annotated[
        list[str] | None, typer.Argument(metavar="[ASSET_ID]...", help="With --reread: read only these again.")
    ] = None,
    reread: Annotated[
        bool, typer.Option("--reread", help="Read assets again that seem unchanged: all of them, or these.")
    ] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
    collection: Collections = None,
    modality: Annotated[
        list[Modality] | None, typer.Option(help="Only features of this modality; may be repeated.")
    ] = None,
    full: Full = False,
    allow_deletes: AllowDeletes = None,
    allow_deletes_of: AllowDeletesOf = None,
    wait_visible: WaitVisible = False,
    visible_timeout: VisibleTimeout = 300,
    lock_wait: LockWait = 60,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=256,
            help="Share a large collection among this many processes here, and with --join.",
        ),
    ] = None,
    join: Annotated[bool, typer.Option("--join", help="Help with a run that is going on with --workers.")] = False,
    lease: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            click_type=Number(2, 3_600),
            help="With --workers: others take over from one not heard of so long.",
        ),
    ] = LEASE,
    as_json: AsJson = False,
) -> None:
    """Bring every destination up to date with the source."""
    if asset_id and not reread:
        raise click.UsageError("asset ids go with --reread: vectorferry sync --reread ASSET_ID...")
    if join:
        _check_left_to_the_run(context)
        raise typer.Exit(_join(load_settings(config, name), collection, lock_wait, as_json))
    settings = allowing_deletes(load_settings(config, name), allow_deletes, allow_deletes_of)
    chosen = collection_ids(settings, collection)
    helpers = WorkerProcesses(_joining(config, name), (workers or 1) - 1)
    with helpers.ended(), progress_bar() as progress:
        summary = run_sync(
            settings,
            SyncOptions(
                collections=chosen,
                modalities=frozenset(modality or MODALITIES),
                full=full,
                reread=Reread(everything=reread and not asset_id, asset_ids=frozenset(asset_id or ())),
                wait_visible=visible_timeout if wait_visible else 0,
                lock_wait=lock_wait,
                workers=workers,
                lease=lease,
            ),
            environ=os.environ,
            progress=progress,
            helpers=helpers,
        )
    end_with(summary, show_summary, as_json=as_json)


def _joining(config: Path, name: str | None) -> list[str]:
    """The command of a worker that this one starts. Its log comes out here, warnings only."""
    of_sync = ["--name", name] if name else []
    return [sys.executable, "-m", "vectorferry", "sync", "--join", "-q", "--config", str(config), *of_sync]


def _check_left_to_the_run(context: typer.Context) -> None:
    """Raise `click.UsageError` for an option that a worker which joins would not look at."""
    for param in context.command.params:
        is_given = context.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE
        if is_given and param.name not in _OF_HELPERS:
            raise click.UsageError(
                f"{param.opts[0]} does not go with --join, which is one worker more for a run that is going on; start "
                "it several times for several"
            )


def _join(settings: SyncSettings, collection: Sequence[str] | None, wait: float, as_json: bool) -> int:
    """Help, and say with what; the exit code."""
    if wait:
        log.info("looking for a run of %s that shares its work, for up to %g s (--lock-wait)", settings.name, wait)
    summary = run_join(settings, JoinOptions(collections=collection, wait=wait), environ=os.environ)
    if as_json:
        print_json({"sync": settings.name, **summary.to_dict(), "exit_code": 0})
    elif not summary.by_collection:
        waited = f" Waited {wait:g} s." if wait else ""
        results().print(f"no run of {settings.name} is going on that shares its work (sync --workers).{waited}")
    else:
        done = (
            f"{counted(summary.assets, 'asset')} in {counted(summary.shards, 'shard')}, {summary.features:,} features"
        )
        results().print(f"helped with {', '.join(map(plain, summary.by_collection))}: {done} written", markup=False)
    return 0
