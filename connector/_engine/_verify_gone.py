"""Collections that the source no longer has, in a check: no asset that a destination holds of them should be there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from vectorferry.connector._closing import closing
from vectorferry.connector._engine._checks import safe_id
from vectorferry.connector._engine._gone import GONE
from vectorferry.connector._engine._verify_checked import Checked
from vectorferry.connector._engine._verify_source import read_by_another
from vectorferry.connector._gone import AllCollections, not_found
from vectorferry.connector._source import Source
from vectorferry.connector._summary import kept_note
from vectorferry.connector._verify import Difference, Discrepancy
from vectorferry.connector._verify_report import CollectionReport, Finding

__all__ = ["report_gone"]


async def report_gone(
    source: Source, checked: Sequence[Checked], named: Collection[str], *, keeps: bool
) -> Mapping[str, CollectionReport]:
    """A report of each collection that is held and that the source has neither `named` nor names in a second list, and
    its settings do not name either.

    Its assets are extra, unless the sync `keeps` assets. Raises what the source raises.
    """
    if not isinstance(source, AllCollections):
        return {}
    stored = {collection for one in checked for collection in await one.stored_collections()}
    gone = {each for each in stored - {*named, *not_found(source)} if source.is_gone(each)}
    still_gone = gone - set(await source.collections()) if gone else gone
    return {safe_id(each): await _report(source, checked, each, keeps=keeps) for each in sorted(still_gone)}


async def _report(source: Source, checked: Sequence[Checked], collection: str, *, keeps: bool) -> CollectionReport:
    report = CollectionReport(gone=True, notes=[GONE])
    for one in checked:
        count = 0
        async with closing(one.asset_ids(collection)) as held:
            async for page in held:
                count += len(page)
                for asset_id in () if keeps else page:
                    report.add(Finding(one.name, "source", Discrepancy(Difference.EXTRA, asset_id)))
        if keeps and count:
            report.notes.append(kept_note(one.name, count))
        elif count:
            report.notes += await read_by_another(source, one, collection)
    return report
