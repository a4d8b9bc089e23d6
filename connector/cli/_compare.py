"""``vectorferry compare``: the source's own nearest neighbours beside those that are found in a destination."""

from __future__ import annotations

import os
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from vectorferry.connector._config import load_settings
from vectorferry.connector._engine import Comparison, VectorComparison, run_compare
from vectorferry.connector.cli._console import cell, counted, end_with, make_table, plain, show_table
from vectorferry.connector.cli._options import DEFAULT_CONFIG, AsJson, ConfigFile, SyncName

SHOWN: Final = 5
"""Features of each named vector whose neighbours are printed; all of them with ``--json``."""


def compare(
    sample: Annotated[
        int, typer.Option("--sample", metavar="N", min=1, max=1_000, help="So many features of each named vector.")
    ] = 20,
    k: Annotated[int, typer.Option("-k", metavar="K", min=1, max=100, help="So many neighbours of each.")] = 10,
    collection: Annotated[
        str | None, typer.Option("--collection", metavar="ID", help="In which collection; else the only one.")
    ] = None,
    destination: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which destination to ask, by name or type; else the first.")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
    as_json: AsJson = False,
) -> None:
    """Ask the source's own search and a destination for the same neighbours, and show where they differ."""
    comparison = run_compare(
        load_settings(config, name),
        collection=collection,
        sample=sample,
        k=k,
        destination_name=destination,
        environ=os.environ,
    )
    end_with(comparison, show_comparison, as_json=as_json)


def show_comparison(comparison: Comparison, console: Console) -> None:
    """A row per named vector, and for some features what only one side has."""
    heading = (
        f"the {comparison.k} nearest in {plain(comparison.collection)}: "
        f"the source's own search beside {plain(comparison.destination)}"
    )
    console.print(Text(heading), soft_wrap=True)
    table = make_table("vector", "modality", "features", "agree", "differ", numbers=("features", "agree", "differ"))
    for vector in comparison.vectors:
        agree = "" if vector.overlap is None else f"{vector.overlap:.1%}"
        differ = f"{len(vector.differences):,}"
        table.add_row(cell(plain(vector.vector_name)), vector.modality.value, f"{vector.compared:,}", agree, differ)
    show_table(table, console)
    for vector in comparison.vectors:
        for line in _lines(vector):
            console.print(Text(line), soft_wrap=True)


def _lines(vector: VectorComparison) -> list[str]:
    label = f"{plain(vector.vector_name)} of {vector.modality.value}"
    lines = [f"{label}: {plain(vector.error)}"] if vector.error else []
    if vector.wordless:
        lines.append(f"{label}: {counted(vector.wordless, 'feature')} without words, which the source is asked by")
    if vector.sparse:
        features = counted(vector.sparse, "feature")
        lines.append(f"{label}: {features} not compared: the source's search takes no sparse vectors")
    if vector.compared and not vector.exact:
        lines.append(f"{label}: the destination answers by an index, which may pass over some")
    for each in vector.differences[:SHOWN]:
        lines.append(f"{label}, {plain(each.feature_id)}: {each.overlap:.0%} agree")
        lines += [f"  only at the source: {plain(', '.join(each.only_source))}"] if each.only_source else []
        lines += [f"  only here: {plain(', '.join(each.only_stored))}"] if each.only_stored else []
    if (more := len(vector.differences) - SHOWN) > 0:
        lines.append(f"{label}: and {more:,} more that differ; --json has them all")
    return lines
