"""What a sync takes where its Postgres is in another data center: ways there and back, and seconds at 20 ms each.

Run with ``pytest -m benchmark tests/benchmarks/test_far_server.py -s``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from vectorferry.connector.plugin import Modality, SchemaMapping, SearchQuery
from vectorferry.connector.testing import MemorySource, sync, verify
from vectorferry.destinations import PgvectorDestination

from ..builders import dense
from ..connector.worlds import asset, feature
from ..far_postgres import far_postgres

AWAY = 0.02
NAMES = 6
MANY = 10


@pytest.mark.benchmark
def test_a_server_that_is_far_away(fresh_postgres_url: str) -> None:
    mapping = SchemaMapping()
    with far_postgres(fresh_postgres_url, AWAY) as (far, url):

        def measured(label: str, schema: str, work: Callable[[PgvectorDestination], object]) -> None:
            before, started = len(far.trips), time.monotonic()
            with closing(PgvectorDestination(schema, url)) as destination:
                work(destination)
            print(f"{label:38} {len(far.trips) - before:4} ways  {time.monotonic() - started:5.1f} s")

        def syncing(collections: int, names: int = 1) -> Callable[[PgvectorDestination], object]:
            source = world(collections, names)
            return lambda each: asyncio.run(sync(source, [each], name="media", mapping=mapping))

        for label in ("first sync of two assets", "unchanged"):
            measured(label, "one", syncing(1))
        for label in (f"first sync of {MANY} collections", f"{MANY} collections unchanged"):
            measured(label, "many", syncing(MANY))
        for label in (f"first sync of {NAMES} named vectors", f"{NAMES} named vectors unchanged"):
            measured(label, "names", syncing(1, NAMES))
        query = SearchQuery(modality=Modality.VIDEO, vector=dense(1))
        measured("status", "one", lambda each: each.status())
        measured("what plan looks up, nothing to do", "one", lambda each: each.planned(mapping))
        measured("what plan looks up, empty database", "none", lambda each: each.planned(mapping))
        measured("verify", "one", lambda each: asyncio.run(verify(world(1, 1), [each], name="media", mapping=mapping)))
        measured("one search", "one", lambda each: each.search(query))


def world(collections: int, names: int) -> MemorySource:
    """Collections of two assets, each with so many named vectors."""
    vectors = {f"m{number}": dense(number + 1) for number in range(names)}
    assets = [asset(each, features=[feature(f"f{each}", vectors=dict(vectors))]) for each in ("a", "b")]
    return MemorySource({f"c{number}": assets for number in range(collections)})
