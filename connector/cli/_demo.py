"""``vectorferry demo``: the whole thing on this machine, in under a minute and without a key."""

from __future__ import annotations

from typing import Annotated

import typer

from connector.cli._options import AsJson

__all__ = ["demo"]


def demo(
    fresh: Annotated[bool, typer.Option("--fresh", help="Remove what an earlier demo stored first.")] = False,
    as_json: AsJson = False,
) -> None:
    """Sync sample media into an embedded Postgres and query it; no key needed."""
    from connector.cli._console import print_json, results
    from connector.cli._demonstration import demonstrate

    told = demonstrate(results(quiet=as_json), fresh=fresh)
    if as_json:
        print_json(told)
    raise typer.Exit(told["exit_code"])
