"""``vectorferry refill``: one destination filled from another."""

from __future__ import annotations

import os
from functools import partial
from typing import Annotated

import typer

from vectorferry.connector._config import load_settings
from vectorferry.connector._engine import run_refill
from vectorferry.connector.cli._console import end_with
from vectorferry.connector.cli._options import (
    DEFAULT_CONFIG,
    AllowDeletes,
    AsJson,
    ConfigFile,
    StoredCollections,
    SyncName,
    VisibleTimeout,
    WaitVisible,
    allowing_deletes,
)
from vectorferry.connector.cli._progress import progress_bar
from vectorferry.connector.cli._summary_view import show_summary


def refill(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The destination to fill: its name, or its type.")],
    store: Annotated[
        str | None, typer.Option("--from", metavar="STORE", help="The destination to read, where several could be.")
    ] = None,
    collection: StoredCollections = None,
    allow_deletes: AllowDeletes = None,
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
    wait_visible: WaitVisible = False,
    visible_timeout: VisibleTimeout = 300,
    as_json: AsJson = False,
) -> None:
    """Fill one destination from another one, without asking the source."""
    settings = allowing_deletes(load_settings(config, name), allow_deletes)
    with progress_bar() as progress:
        summary = run_refill(
            settings,
            target,
            store,
            collections=collection,
            environ=os.environ,
            progress=progress,
            wait_visible=visible_timeout if wait_visible else 0,
        )
    end_with(summary, partial(show_summary, listed_by="the other destination"), as_json=as_json)
