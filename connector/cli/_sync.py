"""``vectorferry sync``: one run."""

from __future__ import annotations

import os
from typing import Annotated

import click
import typer

from vectorferry.connector._config import load_settings
from vectorferry.connector._engine import Reread, SyncOptions, run_sync
from vectorferry.connector._model._records import MODALITIES, Modality
from vectorferry.connector.cli._console import print_json, results
from vectorferry.connector.cli._options import (
    DEFAULT_CONFIG,
    AllowDeletes,
    AllowDeletesOf,
    AsJson,
    Collections,
    ConfigFile,
    Full,
    LockWait,
    SyncName,
    VisibleTimeout,
    WaitVisible,
    allowing_deletes,
    collection_ids,
)
from vectorferry.connector.cli._progress import progress_bar
from vectorferry.connector.cli._summary_view import show_summary


def sync(  # noqa: PLR0913, PLR0917 - one parameter per option
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
    as_json: AsJson = False,
) -> None:
    """Bring every destination up to date with the source."""
    if asset_id and not reread:
        raise click.UsageError("asset ids go with --reread: vectorferry sync --reread ASSET_ID...")
    settings = allowing_deletes(load_settings(config, name), allow_deletes, allow_deletes_of)
    chosen = collection_ids(settings, collection)
    with progress_bar() as progress:
        summary = run_sync(
            settings,
            SyncOptions(
                collections=chosen,
                modalities=frozenset(modality or MODALITIES),
                full=full,
                reread=Reread(everything=reread and not asset_id, asset_ids=frozenset(asset_id or ())),
                wait_visible=visible_timeout if wait_visible else 0,
                lock_wait=lock_wait,
            ),
            environ=os.environ,
            progress=progress,
        )
    if as_json:
        print_json(summary.to_dict())
    else:
        show_summary(summary, results())
    raise typer.Exit(summary.exit_code)
