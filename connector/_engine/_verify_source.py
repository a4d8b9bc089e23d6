"""The source's listing against the ledgers of the destinations: no asset is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from connector._closing import closing
from connector._engine._checks import id_problem, safe_id
from connector._engine._diff import Action, diff
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

__all__ = ["compare_with_source"]

PAGE: Final = 500
BEHIND: Final = "changed at the source since it was synced"


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
    seen = SeenIds()
    try:
        async with closing(pages(source.scan(collection), PAGE)) as listed:
            async for page in listed:
                for finding in await _compare_page(page, seen, checked, loader, collection):
                    yield finding
        if keeps:
            report.notes += [note async for note in _kept(seen, checked, collection)]
        else:
            async for finding in _extra(source, seen, checked, collection):
                yield finding
    except IncompleteScanError as error:
        report.notes.append(f"what the source does not have cannot be told: {error}")
    report.assets = len(seen)


async def _compare_page(
    page: list[Listing], seen: SeenIds, checked: Sequence[Checked], loader: Loader, collection: str
) -> list[Finding]:
    new = seen.add([safe_id(listing.asset_id) for listing in page])
    fresh = [one for one, first in zip(page, new, strict=True) if first and id_problem(one.asset_id) is None]
    ready = [listing.asset_id for listing in fresh if listing.state is AssetState.READY]
    known = {one.name: await one.known(collection, ready) for one in checked}
    return [
        _lacking(name, decision.listing.asset_id, decision.listing.asset_id in known[name])
        for decision in diff(fresh, known, loader.digest, loader.modalities)
        if decision.action is Action.PULL
        for name in sorted(decision.lacking)
    ]


def _lacking(name: str, asset_id: str, held: bool) -> Finding:
    if held:
        return Finding(name, "source", Discrepancy(Difference.DIFFERENT, asset_id, detail=BEHIND))
    return Finding(name, "source", Discrepancy(Difference.MISSING, asset_id))


async def _kept(seen: SeenIds, checked: Sequence[Checked], collection: str) -> AsyncIterator[str]:
    for one in checked:
        async with closing(one.asset_ids(collection)) as held:
            count = sum([len(seen.missing(page)) async for page in held])
        if count:
            yield kept_note(one.name, count)


async def _extra(source: Source, seen: SeenIds, checked: Sequence[Checked], collection: str) -> AsyncIterator[Finding]:
    """What no listing holds. One alone may have skipped an asset when rows moved, so there is a second one first."""
    listed_twice = False
    for one in checked:
        async with closing(one.asset_ids(collection)) as held:
            async for page in held:
                if seen.missing(page) and not listed_twice:
                    await _list_again(source, seen, collection)
                    listed_twice = True
                for asset_id in seen.missing(page):
                    yield Finding(one.name, "source", Discrepancy(Difference.EXTRA, asset_id))


async def _list_again(source: Source, seen: SeenIds, collection: str) -> None:
    async with closing(pages(source.scan(collection), PAGE)) as listed:
        async for page in listed:
            seen.add([safe_id(listing.asset_id) for listing in page])
