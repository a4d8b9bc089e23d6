"""A run's summary for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vectorferry.connector._model._batch import Counts
from vectorferry.connector._protocols._capabilities import NO_TRUSTED_CURSOR
from vectorferry.connector._protocols._destination import Delivery
from vectorferry.connector._protocols._source import Usage
from vectorferry.connector._reports._display import count_rows
from vectorferry.connector._reports._plan import CollectionPlan
from vectorferry.connector._reports._summary import CollectionSummary, DestinationSummary, RelatedSummary, Summary
from vectorferry.connector.cli._console import cell, counted, make_table, megabytes, plain, printable, show_table

__all__ = ["collection_warnings", "related_lines", "related_warnings", "scan_told", "show_summary"]

COLUMNS: Final = ("inserted", "updated", "unchanged", "deleted", "quarantined")
WRITTEN: Final = ("inserted", "updated", "deleted")
TO_WRITE: Final = {"inserted": "to insert", "updated": "to update", "deleted": "to delete"}
COLLECTIONS_SHOWN: Final = 10
IDS_SHOWN: Final = 5
REJECTED_SHOWN: Final = 5


def show_summary(summary: Summary, console: Console, *, brief: bool = False, listed_by: str = "the source") -> None:
    """What was written per destination, and unless `brief` what was read and everything that needs attention."""
    for name, destination in summary.destinations.items():
        _show_destination(plain(name), destination, _when_idle(summary, destination, listed_by), console)
    for line in related_lines(summary.related):
        console.print(Text(line))
    if not brief:
        for line in _collection_lines(summary.collections):
            console.print(Text(line))
    console.print(Text(_usage_line(summary)))
    for line in () if brief else _warnings(summary):
        console.print(Text(line), style="yellow", soft_wrap=True)


def _when_idle(summary: Summary, destination: DestinationSummary, listed_by: str) -> str:
    """What to say of a destination that nothing was written to. What it has set aside is not up to date."""
    if not summary.collections:
        return f"nothing was written, {listed_by} has no collection"
    read: list[CollectionSummary | RelatedSummary] = [*summary.collections.values(), *summary.related.values()]
    left = summary.limit or destination.quarantined or any(seen.error or seen.refused for seen in read)
    return "nothing was written" if left else "nothing was written, everything is up to date"


def _show_destination(name: str, destination: DestinationSummary, when_idle: str, console: Console) -> None:
    rows = [(label, counts) for label, counts in count_rows(destination.applied) if _any(counts, COLUMNS)]
    if rows:
        show_table(_table(name, rows), console)
    if _is_idle(destination, [counts for _, counts in rows]):
        console.print(Text(f"{name}: {when_idle}"))
    if destination.indexes:
        seconds = sum(index.seconds for index in destination.indexes)
        console.print(
            Text(f"{name}: {counted(len(destination.indexes), 'vector index', 'es')} built in {seconds:.1f} s")
        )
    if destination.delivery.requests:
        console.print(Text(f"{name}: {_delivery_line(destination.delivery)}"))


def _is_idle(destination: DestinationSummary, counts: Sequence[Counts]) -> bool:
    """Features that moved to another index are unchanged, and were written all the same."""
    return not (destination.error or destination.delivery.requests or any(_any(each, WRITTEN) for each in counts))


def _table(name: str, rows: Sequence[tuple[str, Counts]]) -> Table:
    table = make_table(name, *COLUMNS, numbers=COLUMNS, cut=(name,))
    for label, counts in rows:
        table.add_row(cell(printable(label)), *(f"{getattr(counts, column):,}" for column in COLUMNS))
    return table


def _any(counts: Counts, columns: Sequence[str]) -> bool:
    return any(getattr(counts, column) for column in columns)


def _collection_lines(collections: Mapping[str, CollectionSummary]) -> Iterator[str]:
    for name, seen in list(collections.items())[:COLLECTIONS_SHOWN]:
        told = f" ({scan})" if (scan := scan_told(seen)) else ""
        counts = f"{counted(seen.listed, 'asset')} listed, {seen.unchanged:,} unchanged, {seen.pulled:,} read"
        counts += f", {seen.reread:,} of them again" if seen.reread else ""
        counts += f", {seen.second_looks:,} of them twice" if seen.second_looks else ""
        counts += f", {seen.unread_count:,} could not be read" if seen.unread_count else ""
        yield f"{plain(name)}: {counts}{told}"
    if len(collections) > COLLECTIONS_SHOWN:
        yield f"… and {len(collections) - COLLECTIONS_SHOWN:,} more collections"


def scan_told(seen: CollectionSummary | CollectionPlan) -> str:
    """Which scan is made; nothing of a source that only knows one kind."""
    if seen.scan == "incremental":
        return "only what has changed"
    return "" if seen.why_full in {None, NO_TRUSTED_CURSOR} else f"in full: {plain(seen.why_full or '')}"


def _delivery_line(delivery: Delivery) -> str:
    units = f", about {counted(delivery.write_units, 'write unit')}" if delivery.write_units else ""
    sent = f"{_requests(delivery)}, {megabytes(delivery.bytes)} sent{units}"
    return f"{sent}; {seen}" if (seen := _visibility(delivery)) else sent


def _visibility(delivery: Delivery) -> str | None:
    """Whether queries see it, or None where nobody asked."""
    places = delivery.places
    if not places or any(place.visible is None for place in places):
        return None
    hidden = sum(not place.is_visible for place in places)
    return f"not yet visible to queries in {hidden:,} of {len(places):,} namespaces" if hidden else "visible to queries"


def _requests(usage: Usage | Delivery) -> str:
    retried = f", {usage.retries:,} of them retries" if usage.retries else ""
    return f"{counted(usage.requests, 'request')}{retried}"


def _usage_line(summary: Summary) -> str:
    """A refill makes no request."""
    asked = f"{_requests(summary.usage)}, " if summary.usage.requests else ""
    return f"{asked}{megabytes(summary.usage.bytes)} read, {summary.seconds:.1f} s"


def _warnings(summary: Summary) -> Iterator[str]:
    yield from map(plain, summary.advice)
    for name, seen in summary.collections.items():
        yield from collection_warnings(plain(name), seen)
    yield from related_warnings(summary.related)
    for name, destination in summary.destinations.items():
        yield from _destination_warnings(plain(name), destination)
    if summary.limit:
        happened = plain(str(summary.limit).partition("\n")[0]).rstrip(".")
        yield f"stopped: {happened}. What was read is written; run `vectorferry sync` again after that."


def related_lines(related: Mapping[str, RelatedSummary], *, planned: bool = False) -> Iterator[str]:
    """Of each table of metadata, what changes where; nothing of those that stay as they are."""
    words = TO_WRITE if planned else dict(zip(WRITTEN, WRITTEN, strict=True))
    for name, seen in related.items():
        for destination, counts in seen.destinations.items():
            if _any(counts, WRITTEN):
                changes = ", ".join(
                    f"{getattr(counts, kind):,} {word}" for kind, word in words.items() if getattr(counts, kind)
                )
                yield f"{plain(destination)}: {plain(name)}: {changes}"


def related_warnings(related: Mapping[str, RelatedSummary]) -> Iterator[str]:
    """What of tables of metadata needs attention."""
    for name, seen in related.items():
        if seen.note:
            yield f"{plain(name)}: {plain(seen.note)}"
        if seen.error:
            yield f"{plain(name)}: failed: {_sentences(seen.error)}"


def collection_warnings(name: str, seen: CollectionSummary | CollectionPlan) -> Iterator[str]:
    """What of a collection needs attention, each in a line."""
    if seen.pending_count:
        yield f"{name}: not ready yet, for a later sync: {_named(seen.pending, seen.pending_count)}"
    if seen.failed_count:
        yield f"{name}: failed at the source: {_named(seen.failed, seen.failed_count)}"
    if seen.note:
        yield f"{name}: {plain(seen.note)}"
    if seen.error:
        yield f"{name}: failed: {_sentences(seen.error)}"


def _destination_warnings(name: str, destination: DestinationSummary) -> Iterator[str]:
    if destination.replaced_nul:
        yield f"{name}: NUL characters, which it cannot store, were replaced in {destination.replaced_nul:,} texts"
    if destination.quarantined:
        records = counted(destination.quarantined, "record")
        yield f"{name}: {records} in quarantine, each with its reason: vectorferry quarantine list"
    for record in destination.applied.rejected[:REJECTED_SHOWN]:
        what = f"{record.modality} {record.feature_id}".strip() if record.feature_id else f"asset {record.asset_id}"
        stays = "; an earlier version stays" if record.kept else ""
        yield f"{name}: set aside: {plain(what)}: {plain(record.detail)} ({record.reason}{stays})"
    yield from (f"{name}: {plain(note)}" for note in destination.notes)
    if destination.error:
        yield f"{name}: failed: {_sentences(destination.error)}"


def _sentences(error: str) -> str:
    """An error of several lines as one: what happened, and then what to do."""
    *said, last = map(plain, error.splitlines() or [""])
    return " ".join([*(line if line.endswith((".", ":", ";")) else f"{line}." for line in said), last])


def _named(ids: Sequence[str], count: int) -> str:
    shown = ", ".join(plain(asset_id, 60) for asset_id in ids[:IDS_SHOWN])
    return f"{shown} and {count - IDS_SHOWN:,} more" if count > IDS_SHOWN else shown
