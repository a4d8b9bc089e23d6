"""A sync into pgvector from a source that lists its changes; `python -m tests.faults.following` is one to be killed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import closing
from typing import Final

from vectorferry.connector.plugin import BatchLimits, CollectionSummary
from vectorferry.connector.testing import sync
from vectorferry.destinations import PgvectorDestination

from ..connector.changing import Changing
from ..connector.worlds import asset, assets
from ..forking import Forked

__all__ = ["follow", "start_following"]

COLLECTION: Final = "c"


def follow(database: str, schema: str, changed: int) -> CollectionSummary:
    """Sync twenty assets after so many of them have changed, in batches of two, to the end."""
    source = Changing({COLLECTION: assets(20)})
    for number in range(changed):
        source.put(COLLECTION, asset(f"a{number:04}", version=2))
    with closing(PgvectorDestination(schema, database)) as destination:
        summary = asyncio.run(sync(source, [destination], name="media", batch=BatchLimits(rows=6)))
    return summary.collections[COLLECTION]


def start_following(database: str, schema: str, changed: int) -> subprocess.Popen[str]:
    """The same as a process."""
    command = [sys.executable, "-m", __name__, database, schema, str(changed)]
    return Forked(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


if __name__ == "__main__":
    follow(sys.argv[1], sys.argv[2], int(sys.argv[3]))
