"""``vectorferry demo``: the whole thing on this machine, in under a minute and without a key."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from vectorferry.connector.cli._options import AsJson

__all__ = ["DemoDestination", "DemoSource", "demo"]


class DemoSource(StrEnum):
    """Whose sample media the demo syncs."""

    MIXPEEK = "mixpeek"
    TWELVELABS = "twelvelabs"


class DemoDestination(StrEnum):
    """Where the demo syncs to."""

    PGVECTOR = "pgvector"
    PINECONE = "pinecone"
    BOTH = "both"


def demo(
    source: Annotated[
        DemoSource, typer.Option(help="Where to sync from: a local stand-in for this service.")
    ] = DemoSource.MIXPEEK,
    destination: Annotated[
        DemoDestination, typer.Option(help="Where to sync to; Pinecone is a local stand-in.")
    ] = DemoDestination.PGVECTOR,
    fresh: Annotated[bool, typer.Option("--fresh", help="Remove what an earlier demo stored first.")] = False,
    as_json: AsJson = False,
) -> None:
    """Sync sample media into an embedded Postgres, or a local Pinecone, and query it; no key needed."""
    from vectorferry.connector.cli._console import print_json, results
    from vectorferry.connector.cli._demonstration import demonstrate

    told = demonstrate(results(quiet=as_json), source, destination, fresh=fresh)
    if as_json:
        print_json(told)
    raise typer.Exit(told["exit_code"])
