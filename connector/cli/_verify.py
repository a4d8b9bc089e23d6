"""``vectorferry verify``: what is stored against what should be, and its repair."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from vectorferry.connector.cli._console import print_json, results
from vectorferry.connector.cli._options import (
    DEFAULT_CONFIG,
    AllowDeletes,
    AllowDeletesOf,
    AsJson,
    Collections,
    ConfigFile,
    SyncName,
    VisibleTimeout,
    allowing_deletes,
)

__all__ = ["verify"]


def verify(  # noqa: PLR0913, PLR0917 - one parameter per option
    collection: Collections = None,
    sample: Annotated[
        int, typer.Option(metavar="N", min=0, help="Compare the contents of so many assets of each collection.")
    ] = 1_000,
    everything: Annotated[bool, typer.Option("--everything", help="Compare the contents of all assets.")] = False,
    source: Annotated[
        int,
        typer.Option(
            "--source", metavar="N", min=0, help="Read so many assets of each collection again, and compare them too."
        ),
    ] = 0,
    repair: Annotated[
        bool, typer.Option("--repair", help="Read the assets with a difference again, and write what is wrong.")
    ] = False,
    allow_deletes: AllowDeletes = None,
    allow_deletes_of: AllowDeletesOf = None,
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
    visible_timeout: VisibleTimeout = 300,
    as_json: AsJson = False,
) -> None:
    """Compare what is stored with the ledger, with the source, and between the destinations."""
    from vectorferry.connector._config import load_settings
    from vectorferry.connector._engine._verify_run import run_verify
    from vectorferry.connector.cli._collections import chosen_collections
    from vectorferry.connector.cli._verify_view import show_verification

    settings = allowing_deletes(load_settings(config, name), allow_deletes, allow_deletes_of)
    found = run_verify(
        settings,
        collections=chosen_collections(settings, collection),
        sample=None if everything else sample,
        repair=repair,
        environ=os.environ,
        visible_timeout=visible_timeout,
        source_sample=source,
    )
    if as_json:
        print_json(found.to_dict())
    else:
        show_verification(found, results())
    raise typer.Exit(found.exit_code)
