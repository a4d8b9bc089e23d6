"""``vectorferry submit``: media handed to the source's service by URL."""

from __future__ import annotations

import os
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import click
import typer

from vectorferry.connector._config import load_settings
from vectorferry.connector._engine import run_submit, without_query
from vectorferry.connector._protocols._source import Submission
from vectorferry.connector.cli._console import for_people, plain, print_json, results
from vectorferry.connector.cli._options import DEFAULT_CONFIG, AsJson, ConfigFile, SyncName

LONGEST_URL: Final = 8_000


def submit(
    urls: Annotated[list[str], typer.Argument(metavar="URL…", help="Public addresses of media files.")],
    collection: Annotated[
        str | None, typer.Option("--collection", metavar="ID", help="Into which collection; else the only one.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all of them are ready to be synced.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Wait no longer than this.")
    ] = 3_600,
    again: Annotated[bool, typer.Option("--again", help="Upload also what was submitted before.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
    as_json: AsJson = False,
) -> None:
    """Have the source's service fetch media files and index them; a later sync brings them."""
    for url in urls:
        _check(url)
    report = run_submit(
        load_settings(config, name),
        urls,
        collection=collection,
        wait=wait,
        timeout=timeout,
        again=again,
        environ=os.environ,
        progress=_show,
    ).to_dict()
    if as_json:
        print_json(report)
    else:
        for submission in report["submitted"]:
            results().print(_line(submission), markup=False, soft_wrap=True)
    raise typer.Exit(report["exit_code"])


def _show(change: Submission) -> None:
    for_people().print(f"{plain(without_query(change.url))}: {change.state.value}", markup=False, soft_wrap=True)


def _line(submission: dict[str, Any]) -> str:
    asset = f"asset {plain(submission['asset_id'])}" if submission["asset_id"] else ""
    known = "submitted before, not uploaded again" if submission["known"] else ""
    said = [
        f"{plain(submission['url'])}: {submission['state'] or 'not submitted'}",
        asset,
        known,
        plain(submission["error"] or ""),
    ]
    return "; ".join(filter(None, said))


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable() and " " not in url
    except ValueError:
        usable = False
    if not usable or len(url) > LONGEST_URL:
        raise click.UsageError("a URL is no http or https address that a service could fetch")
