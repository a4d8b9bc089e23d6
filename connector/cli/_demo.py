"""``vectorferry demo``: the whole thing on this machine, in under a minute and without a key."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from connector.cli._options import AsJson

__all__ = ["DemoDestination", "demo"]


class DemoDestination(StrEnum):
    """Where the demo syncs to."""

    PGVECTOR = "pgvector"
    PINECONE = "pinecone"
    BOTH = "both"


def demo(
    destination: Annotated[
        DemoDestination, typer.Option(help="Where to sync to; Pinecone is a local stand-in.")
    ] = DemoDestination.PGVECTOR,
    fresh: Annotated[bool, typer.Option("--fresh", help="Remove what an earlier demo stored first.")] = False,
    as_json: AsJson = False,
) -> None:
    """Sync sample media into an embedded Postgres, or a local Pinecone, and query it; no key needed."""
    from connector.cli._console import print_json, results
    from connector.cli._demonstration import demonstrate

    told = demonstrate(results(quiet=as_json), destination, fresh=fresh)
    if as_json:
        print_json(told)
    raise typer.Exit(told["exit_code"])
