"""``vectorferry plan``: what a sync would do."""

from __future__ import annotations

import os

import typer

from vectorferry.connector.cli._console import print_json, results
from vectorferry.connector.cli._options import (
    DEFAULT_CONFIG,
    AllowDeletes,
    AllowDeletesOf,
    AsJson,
    Collections,
    ConfigFile,
    Full,
    SyncName,
    allowing_deletes,
)

__all__ = ["plan"]


def plan(
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
    collection: Collections = None,
    full: Full = False,
    allow_deletes: AllowDeletes = None,
    allow_deletes_of: AllowDeletesOf = None,
    as_json: AsJson = False,
) -> None:
    """Say what a sync would do, and change nothing."""
    from vectorferry.connector._config import load_settings
    from vectorferry.connector._engine import run_plan
    from vectorferry.connector.cli._collections import chosen_collections
    from vectorferry.connector.cli._plan_view import show_plan
    from vectorferry.connector.cli._progress import progress_shown

    settings = allowing_deletes(load_settings(config, name), allow_deletes, allow_deletes_of)
    chosen = chosen_collections(settings, collection)
    with progress_shown() as progress:
        planned = run_plan(settings, collections=chosen, environ=os.environ, progress=progress, full=full)
    if as_json:
        print_json(planned.to_dict())
    else:
        show_plan(planned, results())
    raise typer.Exit(planned.exit_code)
