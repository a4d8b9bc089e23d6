"""What a check found, for people: counts, the first records by name, and what to do."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vectorferry.connector._verify_report import CollectionReport, Finding, Verification
from vectorferry.connector.cli._console import plain
from vectorferry.connector.cli._summary_view import show_summary
from vectorferry.connector.cli._tables import cell, counted, make_table

__all__ = ["show_verification"]

REPAIR: Final = "`vectorferry verify --repair` reads these assets again, writes what is wrong and removes what is extra"


def show_verification(found: Verification, console: Console) -> None:
    """Print every collection, then the repair or how to get one."""
    for name, report in found.collections.items():
        _show_collection(name, report, console)
    if found.repair is not None:
        console.print("repaired by a sync of the assets with a difference:", markup=False)
        show_summary(found.repair, console)
    elif any(report.counts for report in found.collections.values()):
        console.print(REPAIR, markup=False, soft_wrap=True)


def _show_collection(name: str, report: CollectionReport, console: Console) -> None:
    verdict = counted(report.counts.total(), "difference") if report.counts else "in step"
    if report.error:
        console.print(Text(f"{plain(name)}: failed: {plain(report.error)}"), style="yellow", soft_wrap=True)
    else:
        listed = counted(report.assets, "asset")
        console.print(Text(f"{plain(name)}: {listed} at the source, {verdict}"), soft_wrap=True)
    for note in report.notes:
        console.print(Text(f"note: {plain(note)}"), style="yellow", soft_wrap=True)
    if report.counts:
        console.print(_counts(report))
        for finding in report.findings:
            console.print(Text(_line(finding)), soft_wrap=True)
        if (more := report.counts.total() - len(report.findings)) > 0:
            console.print(Text(f"  and {more:,} more"))


def _counts(report: CollectionReport) -> Table:
    table = make_table("destination", "against", "kind", "records", numbers=("records",), cut=("destination",))
    for (where, against, kind), number in sorted(report.counts.items()):
        table.add_row(cell(plain(where)), cell(plain(against)), kind.value, f"{number:,}")
    return table


def _line(finding: Finding) -> str:
    one = finding.record
    names = " / ".join(plain(part) for part in (one.asset_id, one.modality or "", one.feature_id) if part)
    vector = f", vector {plain(one.vector_name)}" if one.vector_name else ""
    detail = f" ({plain(one.detail)})" if one.detail else ""
    return f"  {one.kind.value:<9} {plain(finding.where)} against {plain(finding.against)}: {names}{vector}{detail}"
