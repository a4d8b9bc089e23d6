"""How often a sync waits for its server: each way there and back takes 5 to 40 ms to another data center."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from sqlalchemy import text

from vectorferry.connector.plugin import Modality, SchemaMapping, SearchQuery, Vector
from vectorferry.connector.testing import MemorySource, sync
from vectorferry.destinations import PgvectorDestination
from vectorferry.destinations._postgres import Database, parse_url

from ... import builders
from ...builders import dense
from ...connector.worlds import asset, feature
from ...far_postgres import FarPostgres, far_postgres

FIRST = 110
"""Of a first sync of two assets into an empty schema, with what enables pgvector; 212 before."""
UNCHANGED = 22
"""Of a run that finds one collection unchanged, two connections included; 104 before."""
EACH_FURTHER = 7
"""Of such a run, for each further collection: its lock in two, its books, what is known, all ids, the lock's end and
the quarantine; 40 before."""

Trips = Callable[[Callable[[PgvectorDestination], object]], list[str]]


@pytest.fixture
def far(postgres_url: str) -> Iterator[tuple[FarPostgres, str]]:
    with far_postgres(postgres_url) as far:
        yield far


@pytest.fixture
def trips(far: tuple[FarPostgres, str], schema: str) -> Trips:
    """What a piece of work waits for, by a destination that is opened for it."""
    postgres, url = far

    def made(work: Callable[[PgvectorDestination], object], name: str = schema) -> list[str]:
        before = len(postgres.trips)
        with closing(PgvectorDestination(name, url)) as destination:
            work(destination)
        return postgres.trips[before:]

    return made


def syncing(*collections: str, names: int = 1) -> Callable[[PgvectorDestination], object]:
    """A sync of collections of two assets, each with so many named vectors."""
    vectors: dict[str, Vector] = {f"m{number}": dense(number + 1) for number in range(names)}
    assets = [asset(each, features=[feature(f"f{each}", vectors=vectors)]) for each in ("a", "b")]
    source = MemorySource(dict.fromkeys(collections, assets))
    return lambda destination: asyncio.run(sync(source, [destination], name="media", mapping=SchemaMapping()))


def test_a_first_sync(trips: Trips) -> None:
    made = trips(syncing("c"))
    assert len(made) <= FIRST, made


def test_a_run_that_finds_nothing_changed(trips: Trips) -> None:
    trips(syncing("c"))
    made = trips(syncing("c"))
    assert len(made) <= UNCHANGED, made
    # Of a hundred million vectors, counting takes a minute.
    assert [words for words in made if "count(" in words and "video" in words] == []


def test_each_further_collection_and_named_vector(trips: Trips) -> None:
    collections = [f"c{number}" for number in range(4)]
    trips(syncing(*collections, names=3))
    assert len(trips(syncing(*collections, names=3))) <= UNCHANGED + 3 * EACH_FURTHER


def test_a_batch(far: tuple[FarPostgres, str], schema: str) -> None:
    """All that is stored of its assets is asked for at once, however many tables there are."""
    postgres, url = far
    with closing(PgvectorDestination(schema, url)) as destination:
        destination.prepare(SchemaMapping())
        made = []
        for name in ("a", "b", "b"):
            before = len(postgres.trips)
            destination.apply(builders.batch(builders.asset(name, builders.feature("f"))))
            made.append(postgres.trips[before:])
    _, new, unchanged = made
    assert len(new) <= 12, new  # 23 before
    assert len(unchanged) <= 4, unchanged  # 12 before


def test_whoever_looks(trips: Trips) -> None:
    trips(syncing("c"))
    assert len(trips(lambda each: each.planned(SchemaMapping()))) <= 22  # 54 before
    assert len(trips(lambda each: each.status())) <= 19  # 32 before
    query = SearchQuery(modality=Modality.VIDEO, vector=dense(1))
    assert len(trips(lambda each: each.search(query))) <= 12  # 25 before


def test_a_transaction_of_one_message_takes_one_way_and_no_second_statement(far: tuple[FarPostgres, str]) -> None:
    postgres, url = far
    with closing(Database(parse_url(url))) as database:
        with database.plain_transaction() as connection:
            connection.execute(text("CREATE TEMPORARY TABLE kept (n int)"))
        before = len(postgres.trips)
        with database.plain_transaction(is_whole=True) as connection:
            connection.execute(text("INSERT INTO pg_temp.kept VALUES (1)"))
        assert len(postgres.trips) == before + 1
        with database.plain_transaction(is_whole=True) as connection:
            connection.execute(text("INSERT INTO pg_temp.kept VALUES (2)"))
            with pytest.raises(RuntimeError, match="was to be one message"):
                connection.execute(text("INSERT INTO pg_temp.kept VALUES (3)"))
        with database.plain_transaction() as connection:
            assert connection.execute(text("SELECT n FROM pg_temp.kept ORDER BY n")).scalars().all() == [1, 2]
        with database.plain_transaction(is_whole=True):
            pass  # nothing to begin, and nothing to commit
        assert len(postgres.trips) == before + 4


def test_what_is_refused_in_one_message_says_why_and_leaves_nothing(
    far: tuple[FarPostgres, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Not that what was sent behind it was not executed either."""
    with closing(Database(parse_url(far[1]))) as database:
        for is_whole in (True, False):
            with (
                pytest.raises(Exception, match="division by zero"),
                database.plain_transaction(is_whole=is_whole) as connection,
            ):
                connection.execute(text("SELECT 1 / 0"))
            with database.plain_transaction(is_whole=is_whole) as connection:
                assert connection.execute(text("SELECT 1")).scalar_one() == 1
    assert caplog.messages == []
