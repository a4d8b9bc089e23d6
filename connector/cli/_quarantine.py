"""``vectorferry quarantine``: the records that could not be loaded, shown, read again, or dropped."""

from __future__ import annotations

import os
from typing import Annotated, Final

import click
import typer

from vectorferry.connector._records import Reason
from vectorferry.connector.cli._console import print_json, results
from vectorferry.connector.cli._options import DEFAULT_CONFIG, AsJson, ConfigFile, StoredCollections, SyncName
from vectorferry.connector.cli._tables import counted

__all__ = ["quarantine"]

quarantine: Final = typer.Typer(no_args_is_help=True, help="Show, read again or drop the records that were set aside.")

WhichReason = Annotated[Reason | None, typer.Option("--reason", help="Only records that were set aside for this.")]
WhichDestination = Annotated[
    str | None, typer.Option("--destination", metavar="NAME", help="Only this destination, by name or type.")
]
Assets = Annotated[list[str] | None, typer.Argument(metavar="[ASSET_ID]...", help="Only records of these assets.")]


@quarantine.command("list")
def list_(
    collection: StoredCollections = None,
    reason: WhichReason = None,
    destination: WhichDestination = None,
    limit: Annotated[int, typer.Option(min=0, max=100_000, help="How many records to show; all are counted.")] = 20,
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
    as_json: AsJson = False,
) -> None:
    """Count the records in quarantine by reason, and show the first."""
    from vectorferry.connector._config import load_settings
    from vectorferry.connector._engine import Selection, holders
    from vectorferry.connector.cli._quarantine_view import overview, show_overviews

    selection = Selection(frozenset(collection or ()), reason=reason)
    with holders(load_settings(config, name), destination) as found:
        overviews = [overview(holder, selection, limit) for holder in found]
    exit_code = max(each.exit_code for each in overviews)
    if as_json:
        print_json({"destinations": [each.to_dict() for each in overviews], "exit_code": exit_code})
    else:
        show_overviews(overviews, results(), narrowed=bool(collection or reason))
    raise typer.Exit(exit_code)


@quarantine.command()
def show(
    asset_id: Annotated[str, typer.Argument(metavar="ASSET_ID", help="The asset whose records to show.")],
    collection: StoredCollections = None,
    destination: WhichDestination = None,
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
    as_json: AsJson = False,
) -> None:
    """Show every record of one asset in full."""
    from vectorferry.connector._config import load_settings
    from vectorferry.connector._engine import Selection, holders, selected
    from vectorferry.connector.cli._quarantine_view import as_dict, show_records

    selection = Selection(frozenset(collection or ()), frozenset([asset_id]))
    with holders(load_settings(config, name), destination) as found:
        records = [(holder.name, record) for holder in found for record in selected(holder, selection)]
    if not records:
        raise click.UsageError("no record of this asset is in quarantine; see: vectorferry quarantine list")
    if as_json:
        print_json({"records": [{"destination": at, **as_dict(record)} for at, record in records], "exit_code": 0})
    else:
        show_records(records, results())


@quarantine.command()
def replay(
    asset_id: Assets = None,
    collection: StoredCollections = None,
    reason: WhichReason = None,
    destination: WhichDestination = None,
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
    as_json: AsJson = False,
) -> None:
    """Read the assets of these records again, by a sync of their collections."""
    from vectorferry.connector._config import load_settings
    from vectorferry.connector._engine import Selection, run_replay
    from vectorferry.connector.cli._progress import progress_shown
    from vectorferry.connector.cli._summary_view import show_summary

    selection = Selection(frozenset(collection or ()), frozenset(asset_id or ()), reason)
    with progress_shown() as progress:
        summary = run_replay(load_settings(config, name), selection, destination, environ=os.environ, progress=progress)
    if as_json:
        print_json(summary.to_dict())
    elif not summary.collections:
        results().print("nothing to replay: no such record is in quarantine", markup=False)
    else:
        show_summary(summary, results())
    raise typer.Exit(summary.exit_code)


@quarantine.command()
def drop(
    asset_id: Assets = None,
    collection: StoredCollections = None,
    reason: WhichReason = None,
    destination: WhichDestination = None,
    everything: Annotated[bool, typer.Option("--all", help="Every record there is.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
    as_json: AsJson = False,
) -> None:
    """Drop records. Nothing is read again before it changes at the source."""
    from vectorferry.connector._config import load_settings
    from vectorferry.connector._engine import Selection, drop_selected, holders

    selection = Selection(frozenset(collection or ()), frozenset(asset_id or ()), reason)
    if (selection == Selection()) != everything:
        raise click.UsageError("say which records: ASSET_ID, --collection or --reason; or --all, and none of these")
    with holders(load_settings(config, name), destination) as found:
        dropped = {holder.name: drop_selected(holder, selection) for holder in found}
    if as_json:
        print_json({"dropped": dropped, "exit_code": 0})
    else:
        for at, number in dropped.items():
            results().print(f"{at}: {counted(number, 'record')} dropped", markup=False)
