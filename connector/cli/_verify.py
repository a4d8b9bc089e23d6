"""``vectorferry verify``: what is stored against what should be, and its repair."""

from __future__ import annotations

import os
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vectorferry.connector._config import load_settings
from vectorferry.connector._engine.verify._security import run_security_check
from vectorferry.connector._engine.verify._verify import run_verify
from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector._reports._verification import CollectionReport, Finding, SecurityReport, Verification
from vectorferry.connector.cli._console import cell, counted, end_with, make_table, plain
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
    collection_ids,
)
from vectorferry.connector.cli._summary_view import show_summary


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
    security: Annotated[
        bool, typer.Option("--security", help="Say who else may do something with what is stored; compare nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare what is stored with the ledger, with the source, and between the destinations."""
    if security:
        if repair:
            raise ConfigurationError("--security changes nothing: leave --repair out")
        end_with(run_security_check(load_settings(config, name), environ=os.environ), show_security, as_json=as_json)
    settings = allowing_deletes(load_settings(config, name), allow_deletes, allow_deletes_of)
    verification = run_verify(
        settings,
        collections=collection_ids(settings, collection),
        sample=None if everything else sample,
        repair=repair,
        environ=os.environ,
        visible_timeout=visible_timeout,
        source_sample=source,
    )
    end_with(verification, show_verification, as_json=as_json)


def show_security(report: SecurityReport, console: Console) -> None:
    """Print what was found in each destination, a line each, and under it what to do."""
    for name, check in report.destinations.items():
        loader = f", loaded by {plain(check.loader)}" if check.loader else ""
        verdict = counted(len(check.findings), "finding") if check.findings else "nothing was found"
        console.print(Text(f"{plain(name)}{loader}: {verdict}"), soft_wrap=True)
        for finding in check.findings:
            console.print(Text(f"  {plain(finding.subject)} {plain(finding.problem)}"), style="yellow", soft_wrap=True)
            console.print(Text(f"    {plain(finding.remedy)}"), soft_wrap=True)


REPAIR: Final = "`vectorferry verify --repair` reads these assets again, writes what is wrong and removes what is extra"


def show_verification(verification: Verification, console: Console) -> None:
    """Print every collection, then the repair or how to get one."""
    for name, report in verification.collections.items():
        _show_collection(name, report, console)
    if verification.repair is not None:
        console.print("repaired by a sync of the assets with a difference:", markup=False)
        show_summary(verification.repair, console)
    elif any(report.is_mendable for report in verification.collections.values()):
        console.print(REPAIR, markup=False, soft_wrap=True)


def _show_collection(name: str, report: CollectionReport, console: Console) -> None:
    verdict = counted(report.counts.total(), "difference") if report.counts else "no difference"
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
