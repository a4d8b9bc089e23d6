"""``vectorferry quarantine``: the records that could not be loaded, shown, read again, or dropped."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import click
import typer
from rich.console import Console
from rich.text import Text

from vectorferry.connector._config import load_settings
from vectorferry.connector._engine import RejectedAt, Selection, drop_selected, run_replay, selected
from vectorferry.connector._engine._opening import opened
from vectorferry.connector._model._errors import VectorferryError
from vectorferry.connector._model._records import Reason, Rejected
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Destination
from vectorferry.connector._reports._summary import Summary
from vectorferry.connector.cli._console import (
    cell,
    complain,
    counted,
    end_with,
    make_table,
    plain,
    print_json,
    results,
    show_table,
)
from vectorferry.connector.cli._options import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigFile,
    StoredCollections,
    SyncName,
    WhichDestination,
)
from vectorferry.connector.cli._progress import progress_bar
from vectorferry.connector.cli._summary_view import show_summary

quarantine: Final = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    suggest_commands=False,
    help="Show, read again or drop the records that were set aside.",
)

WhichReason = Annotated[Reason | None, typer.Option("--reason", help="Only records that were set aside for this.")]

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
    selection = Selection(frozenset(collection or ()), reason=reason)
    with opened(load_settings(config, name), needs=Capability.QUARANTINE, name=destination) as destinations:
        overviews = [read_overview(holder, selection, limit) for holder in destinations]
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
    selection = Selection(frozenset(collection or ()), frozenset([asset_id]))
    with opened(load_settings(config, name), needs=Capability.QUARANTINE, name=destination) as destinations:
        records = [(holder.name, record) for holder in destinations for record in selected(holder, selection)]
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
    selection = Selection(frozenset(collection or ()), frozenset(asset_id or ()), reason)
    with progress_bar() as progress:
        summary = run_replay(load_settings(config, name), selection, destination, environ=os.environ, progress=progress)
    end_with(summary, show_summary if summary.collections else _show_nothing_to_replay, as_json=as_json)


def _show_nothing_to_replay(_: Summary, console: Console) -> None:
    console.print("nothing to replay: no such record is in quarantine", markup=False)


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
    selection = Selection(frozenset(collection or ()), frozenset(asset_id or ()), reason)
    if (selection == Selection()) != everything:
        raise click.UsageError("say which records: ASSET_ID, --collection or --reason; or --all, and none of these")
    with opened(load_settings(config, name), needs=Capability.QUARANTINE, name=destination) as destinations:
        dropped = {holder.name: drop_selected(holder, selection) for holder in destinations}
    if as_json:
        print_json({"dropped": dropped, "exit_code": 0})
    else:
        for at, number in dropped.items():
            results().print(f"{at}: {counted(number, 'record')} dropped", markup=False)


ID_SHOWN: Final = 40
"""An asset id is copied from here to show it or read it again: a UUID fits."""

STAYS: Final = "an earlier version is still stored and shown, until a good one comes"


@dataclass(slots=True)
class Overview:
    """How many records one destination has in quarantine for which reason, and the first of them; or why it cannot be
    told."""

    destination: str
    reasons: Counter[Reason] = field(default_factory=Counter)
    first: list[RejectedAt] = field(default_factory=list)
    error: VectorferryError | None = None

    @property
    def exit_code(self) -> int:
        """What it amounts to: 0 unless the destination could not be asked."""
        return self.error.exit_code if self.error else 0

    def to_dict(self) -> Mapping[str, Any]:
        """Plain JSON values."""
        if self.error:
            return {"destination": self.destination, "error": str(self.error)}
        return {
            "destination": self.destination,
            "records": self.reasons.total(),
            "reasons": {reason.value: count for reason, count in self.reasons.most_common()},
            "first": [*map(as_dict, self.first)],
        }


def read_overview(holder: Destination, selection: Selection, limit: int) -> Overview:
    """Counts all records that are meant, and keeps the first `limit`. One destination that cannot be reached must not
    hide the others."""
    overview = Overview(holder.name)
    try:
        for rejected in selected(holder, selection):
            overview.reasons[rejected[1].reason] += 1
            if len(overview.first) < limit:
                overview.first.append(rejected)
    except VectorferryError as error:
        overview.error = error
    return overview


def as_dict(rejected: RejectedAt) -> Mapping[str, Any]:
    """Plain JSON values; the time in UTC."""
    collection, record, seen_at = rejected
    return {"collection": collection, **asdict(record), "seen_at": seen_at.astimezone(UTC).isoformat()}


def show_overviews(overviews: Sequence[Overview], console: Console, *, narrowed: bool = False) -> None:
    """Counts by reason and the first records, per destination; where it is `narrowed`, there may be others."""
    nothing = "no such record" if narrowed else "nothing"
    for each in overviews:
        if each.error:
            complain(f"{each.destination}: {each.error}")
            continue
        total = each.reasons.total()
        told = counted(total, "record") if total else nothing
        console.print(Text(f"{plain(each.destination)}: {told} in quarantine"))
        if total:
            _show_reasons(each, console)
            _show_first(each, console)


def show_records(records: Sequence[tuple[str, RejectedAt]], console: Console) -> None:
    """Each record in full, with the destination that has it."""
    for destination, (collection, record, seen_at) in records:
        console.print(Text(f"{plain(destination)}, collection {plain(collection)}, {_time(seen_at)}"), soft_wrap=True)
        console.print(Text(f"  asset {plain(record.asset_id)}{_feature(record)}"), soft_wrap=True)
        console.print(Text(f"  {record.reason}: {plain(record.detail)}"), soft_wrap=True)
        if record.kept:
            console.print(Text(f"  {STAYS}"), soft_wrap=True)


def _show_reasons(overview: Overview, console: Console) -> None:
    table = make_table("reason", "records", numbers=("records",))
    for reason, count in overview.reasons.most_common():
        table.add_row(cell(reason), f"{count:,}")
    show_table(table, console)


def _show_first(overview: Overview, console: Console) -> None:
    if not overview.first:
        return
    table = make_table("asset", "reason", "detail", cut=("detail",))
    for collection, record, _ in overview.first:
        asset = cell(plain(record.asset_id, ID_SHOWN)).append(f"\n{plain(collection, ID_SHOWN)}", style="dim")
        detail = cell(plain(record.detail)).append(f"\n{_named(record)}", style="dim")
        if record.kept:
            detail.append("\nan earlier version is shown", style="dim")
        table.add_row(asset, cell(record.reason), detail)
    show_table(table, console)
    if (more := overview.reasons.total() - len(overview.first)) > 0:
        console.print(
            Text(f"… and {more:,} more; see them with --limit, one in full with: quarantine show ASSET_ID"),
            soft_wrap=True,
        )


def _named(record: Rejected) -> str:
    if not record.feature_id:
        return "the whole asset"
    return plain(f"{record.feature_id} ({record.modality}){_part(record)}")


def _feature(record: Rejected) -> str:
    if not record.feature_id:
        return ", as a whole"
    return f", {plain(record.modality)} feature {plain(record.feature_id)}{plain(_part(record))}"


def _part(record: Rejected) -> str:
    """What of the feature was set aside, where the rest of it was loaded."""
    if record.vector_name:
        return f", vector {record.vector_name}"
    return f", column {record.column}" if record.column else ""


def _time(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S %Z}"
