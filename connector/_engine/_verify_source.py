"""The source's listing against the ledgers of the destinations: no asset is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from connector._closing import closing
from connector._destination import Known
from connector._engine._checks import id_problem, safe_id
from connector._engine._diff import Action, Decision, diff
from connector._engine._guard import read_differently
from connector._engine._load import Loader
from connector._engine._stream import pages
from connector._engine._verify_checked import Checked
from connector._errors import IncompleteScanError
from connector._records import AssetState, Listing
from connector._seen import SeenIds
from connector._source import Source
from connector._summary import kept_note
from connector._verify import Difference, Discrepancy
from connector._verify_report import CollectionReport, Finding

__all__ = ["compare_with_source", "read_by_another"]

PAGE: Final = 500
BEHIND: Final = "changed at the source, or in what is asked of it, since it was synced"

_Known: TypeAlias = Mapping[str, Mapping[str, Known]]
"""Per destination and asset id."""


async def compare_with_source(
    source: Source,
    checked: Sequence[Checked],
    loader: Loader,
    collection: str,
    report: CollectionReport,
    *,
    keeps: bool,
) -> AsyncIterator[Finding]:
    """Assets that a destination lacks, has in another version, or has alone. `report` gets the number of assets, and a
    note where the listing is not complete, or where the sync `keeps` assets: then nothing is called extra."""
    seen, due = SeenIds(), 0
    try:
        async with closing(pages(source.scan(collection), PAGE)) as listed:
            async for page in listed:
                for decision, known in await _decide_page(page, seen, checked, loader, collection):
                    due += decision.reread == decision.lacking
                    for finding in _lacking(decision, known):
                        yield finding
        if keeps:
            report.notes += [note async for note in _kept(seen, checked, collection)]
        else:
            async for finding in _extra(source, seen, checked, collection, report):
                yield finding
    except IncompleteScanError as error:
        report.notes.append(f"what the source does not have cannot be told: {error}")
    report.assets = len(seen)
    if due:
        assets = "1 asset is" if due == 1 else f"{due:,} assets are"
        report.notes.append(f"{assets} due to be read again, in their turn; the next sync does it")


async def _decide_page(
    page: list[Listing], seen: SeenIds, checked: Sequence[Checked], loader: Loader, collection: str
) -> list[tuple[Decision, _Known]]:
    """Those that a sync would read, with what the destinations have of them."""
    new = seen.add([safe_id(listing.asset_id) for listing in page])
    fresh = [one for one, first in zip(page, new, strict=True) if first and id_problem(one.asset_id) is None]
    ready = [listing.asset_id for listing in fresh if listing.state is AssetState.READY]
    known = {one.name: await one.known(collection, ready) for one in checked}
    decisions = diff(fresh, known, loader.digest, loader.modalities)
    return [(decision, known) for decision in decisions if decision.action is Action.PULL]


def _lacking(decision: Decision, known: _Known) -> Iterator[Finding]:
    """What is only due to be read again is as it should be, as far as anybody can tell."""
    asset_id = decision.listing.asset_id
    for name in sorted(decision.lacking - decision.reread):
        if asset_id in known[name]:
            yield Finding(name, "source", Discrepancy(Difference.DIFFERENT, asset_id, detail=BEHIND))
        else:
            yield Finding(name, "source", Discrepancy(Difference.MISSING, asset_id))


async def _kept(seen: SeenIds, checked: Sequence[Checked], collection: str) -> AsyncIterator[str]:
    for one in checked:
        async with closing(one.asset_ids(collection)) as held:
            count = sum([len(seen.missing(page)) async for page in held])
        if count:
            yield kept_note(one.name, count)


async def _extra(
    source: Source, seen: SeenIds, checked: Sequence[Checked], collection: str, report: CollectionReport
) -> AsyncIterator[Finding]:
    """What no listing holds. One alone may have skipped an asset when rows moved, so there is a second one first."""
    listed_twice = False
    for one in checked:
        extra = False
        async with closing(one.asset_ids(collection)) as held:
            async for page in held:
                if seen.missing(page) and not listed_twice:
                    await _list_again(source, seen, collection)
                    listed_twice = True
                for asset_id in seen.missing(page):
                    extra = True
                    yield Finding(one.name, "source", Discrepancy(Difference.EXTRA, asset_id))
        if extra:
            report.notes += await read_by_another(source, one, collection)


async def read_by_another(source: Source, checked: Checked, collection: str) -> Sequence[str]:
    """A note for what is extra, where whoever reads now may only not see it."""
    changes = await checked.origin_changes(source, collection)
    if not changes:
        return ()
    return (
        f"{checked.name}: what the source does not have may only not be seen: it is {read_differently(changes)}. "
        "A repair deletes nothing unless --allow-deletes is given",
    )


async def _list_again(source: Source, seen: SeenIds, collection: str) -> None:
    async with closing(pages(source.scan(collection), PAGE)) as listed:
        async for page in listed:
            seen.add([safe_id(listing.asset_id) for listing in page])
