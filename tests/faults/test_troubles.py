"""Whatever happens to a sync, the next one leaves what an undisturbed one would have left: row by row, bit by bit.

Some kinds of trouble are part of every test run. The long version has every kind, and then tries each trouble at
several moments, for first syncs and for updates: ``pytest -m long tests/faults/test_troubles.py -s``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import count

import psycopg
import pytest

from vectorferry.connector.sandbox import Sandbox, running_sandbox
from vectorferry.destinations._postgres import _errors

from ..examples import family
from .media import Service
from .mixpeek_documents_media import MIXPEEK_DOCUMENTS
from .mixpeek_media import MIXPEEK
from .trouble_runs import AFTER, Course, Outcome, TroubledWorld, Worlds, troubled_worlds
from .troubles import CUTS, Trouble, gone_after, one_of_each, outages_of, troubles_of, wrong_answers_of
from .twelvelabs_media import TWELVELABS

MOMENTS = (0, 1, 4)
SERVICES: tuple[Service, ...] = (MIXPEEK, TWELVELABS, MIXPEEK_DOCUMENTS)

Courses = Callable[[Service], Course]


def in_turns(troubles_of: Callable[[Service], Iterable[Trouble]]) -> Iterator[tuple[Service, Trouble]]:
    """Each kind of trouble; one service is in it after the other."""
    troubles = {service: list(one_of_each(troubles_of(service))) for service in SERVICES}
    for number in range(max(map(len, troubles.values()))):
        service = SERVICES[number % len(SERVICES)]
        yield from ((service, trouble) for trouble in troubles[service][number : number + 1])


SHORT = [
    *in_turns(outages_of),
    *in_turns(wrong_answers_of),
    *((MIXPEEK, trouble) for trouble in one_of_each(CUTS)),
]
"""Where a connection to Postgres is cut, the service makes no difference."""
NORMAL = [0]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox() as running:
        yield running


@pytest.fixture(scope="module")
def worlds(sandbox: Sandbox, postgres_url: str) -> Iterator[Worlds]:
    """Each service's, with what an undisturbed sync of it leaves."""
    with pytest.MonkeyPatch.context() as patches, troubled_worlds(sandbox, postgres_url, "t_undisturbed") as each:
        patches.setattr(_errors, "_SECONDS_TO_RESTART", 0.05)
        yield each


@pytest.fixture
def world(worlds: Worlds) -> TroubledWorld:
    """Where it is Postgres that is in trouble."""
    return worlds(MIXPEEK)


@pytest.fixture(scope="module")
def courses(worlds: Worlds) -> Courses:
    """Each service's."""
    return cache(lambda service: Course(worlds(service)))


@pytest.mark.parametrize(("service", "trouble"), family(SHORT, NORMAL), ids=str)
def test_the_next_sync_makes_up_for_it(
    courses: Courses, connection: psycopg.Connection, service: Service, trouble: Trouble
) -> None:
    hits, outcome = courses(service).go_through(connection, trouble)
    assert outcome == Outcome()
    assert hits > 0


@pytest.mark.long
@pytest.mark.parametrize("pieces", [55, 20, 110, 90, 160])
def test_a_sync_may_be_gone_between_any_two_steps(
    courses: Courses, connection: psycopg.Connection, pieces: int
) -> None:
    hits, outcome = courses(MIXPEEK).go_through(connection, gone_after(pieces))
    assert outcome == Outcome()
    assert hits > 0


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_a_sync_is_gone_between_every_two_steps(courses: Courses, connection: psycopg.Connection) -> None:
    total = Outcome()
    for pieces in count():
        hits, outcome = courses(MIXPEEK).go_through(connection, gone_after(pieces))
        total += outcome
        if not hits:
            break
    print(f"gone after each of {pieces} pieces: {total}")
    assert pieces > 100
    assert total == Outcome()


@pytest.mark.long
def test_a_difference_would_be_found(world: TroubledWorld, connection: psycopg.Connection, schema: str) -> None:
    world.serve(AFTER)
    world.sync(schema)
    connection.execute(f"DELETE FROM {schema}.text WHERE feature_id LIKE 'asset-02%'")
    connection.execute(
        f"UPDATE {schema}.text__words SET embedding = '{{1:9}}/1000000000' WHERE feature_id LIKE '%03-same'"
    )
    found = world.outcome(connection, schema)
    assert found.missing > 0
    assert found.stale == 1


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("update", [False, True], ids=["first_sync", "update"])
@pytest.mark.parametrize("service", SERVICES, ids=str)
def test_every_trouble_at_several_moments(
    worlds: Worlds, courses: Courses, connection: psycopg.Connection, schema: str, service: Service, update: bool
) -> None:
    world, course, troubles = worlds(service), courses(service), (*troubles_of(service), *CUTS)
    total, runs = Outcome(), 0
    for trouble in troubles:
        found, hits = Outcome(), 0
        for moment in MOMENTS:
            runs += 1
            if update:
                hit, outcome = course.go_through(connection, trouble.later(moment))
            else:
                hit = world.go_through(trouble.later(moment), schema)
                outcome = world.outcome(connection, schema)
                connection.execute(f"DROP SCHEMA {schema} CASCADE")
            hits += hit
            found += outcome
        print(f"{trouble.name:70} hits {hits:4}  {found}")
        assert hits
        total += found
    print(f"{service}: {len(troubles)} troubles, {runs} runs: {total}")
    assert total == Outcome()
