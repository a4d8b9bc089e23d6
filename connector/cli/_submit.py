"""``vectorferry submit``: media handed to the source's service by URL, and synced when they are ready."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import click
import typer

from vectorferry.connector._config import load_settings
from vectorferry.connector._config._load import load_part
from vectorferry.connector._engine._submit import is_fetchable, run_submit, without_query
from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector._model._settings_base import Settings
from vectorferry.connector._protocols._source import SourceSettings, Submission, SubmitOptions
from vectorferry.connector.cli._console import for_people, plain, print_json, results
from vectorferry.connector.cli._options import DEFAULT_CONFIG, AsJson, ConfigFile, Number, SyncName, pairs
from vectorferry.connector.cli._summary_view import show_summary


def submit(  # noqa: PLR0913, PLR0917 - one parameter per option
    urls: Annotated[list[str], typer.Argument(metavar="URL…", help="Public addresses of media files.")],
    collection: Annotated[
        str | None, typer.Option("--collection", metavar="ID", help="Into which collection; else the only one.")
    ] = None,
    settings_file: Annotated[
        Path | None,
        typer.Option("--settings", metavar="FILE", help="What the service is to make of the files (YAML)."),
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Metadata of the assets, or a JSON object; repeatable."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all of them are ready, and sync them.")] = False,
    sync: Annotated[bool, typer.Option("--sync/--no-sync", help="With --wait: whether to sync them.")] = True,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", click_type=Number(0.1), help="Wait no longer than this.")
    ] = 3_600,
    again: Annotated[bool, typer.Option("--again", help="Upload also what was submitted before.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
    as_json: AsJson = False,
) -> None:
    """Have the source's service fetch media files and index them; with --wait, sync just these."""
    if not all(map(is_fetchable, urls)):
        raise click.UsageError("a URL is no http or https address that a service could fetch")
    loaded = load_settings(config, name)
    own = _own_settings(loaded.source, settings_file) if settings_file else None
    submissions = run_submit(
        loaded,
        urls,
        SubmitOptions(pairs("--metadata", metadata or ()), own, again),
        collection=collection,
        wait=wait,
        sync=sync,
        timeout=timeout,
        environ=os.environ,
        progress=_show,
    )
    if as_json:
        print_json(submissions.to_dict())
    else:
        _print(submissions.to_dict()["submitted"])
        if submissions.summary:
            show_summary(submissions.summary, results())
        if submissions.note:
            for_people().print(submissions.note, markup=False, soft_wrap=True)
        if submissions.sync_error:
            results().print(f"not synced: {submissions.sync_error}", markup=False, soft_wrap=True)
    raise typer.Exit(submissions.exit_code)


def _own_settings(source: SourceSettings, path: Path) -> Settings:
    if source.submit_settings is None:
        raise ConfigurationError(f"--settings: a source of type {source.type} has no settings for what is submitted")
    return load_part(path, source.submit_settings)


def _show(change: Submission) -> None:
    for_people().print(
        f"{plain(without_query(change.url))}: {_state(change.state.value, change.status)}", markup=False, soft_wrap=True
    )


def _state(state: str, status: str) -> str:
    """The state, and the service's own word for it."""
    return f"{state} ({plain(status)})" if status else state


def _print(submitted: Sequence[dict[str, Any]]) -> None:
    for submission in submitted:
        results().print(_line(submission), markup=False, soft_wrap=True)


def _line(submission: dict[str, Any]) -> str:
    known = ""
    if submission["state"] == "skipped":
        known = "the same file is there already"
    elif submission["known"]:
        known = "submitted before, not uploaded again"
    said = [
        f"{plain(submission['url'])}: {_state(submission['state'] or 'not submitted', submission['status'] or '')}",
        f"asset {plain(submission['asset_id'])}" if submission["asset_id"] else "",
        known,
        plain(submission["error"] or ""),
        plain(submission["note"] or ""),
    ]
    return "; ".join(filter(None, said))
