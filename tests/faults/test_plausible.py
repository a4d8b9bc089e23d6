"""Answers that look right and hold less than there is, or something else: nothing goes unguarded, and all of it heals.

The normal line has some, once; the long version each on each route, for one request and for a whole run:
``pytest -m long tests/faults/test_plausible.py -s``.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from vectorferry.connector.sandbox import Sandbox, running_sandbox

from ..examples import family
from ..tables import differences
from .media import Service
from .mixpeek_documents_media import MIXPEEK_DOCUMENTS
from .mixpeek_media import MIXPEEK
from .trouble_runs import Outcome, TroubledWorld, Worlds, troubled_worlds
from .troubles import ALWAYS, Trouble, one_of_each, plausible_answers_of
from .twelvelabs_media import TWELVELABS

SERVICES: tuple[Service, ...] = (MIXPEEK, TWELVELABS, MIXPEEK_DOCUMENTS)
ONCE = {
    MIXPEEK: ("a modality missing", "fewer features", "no vector", "shorter vectors", "other words", "fewer rows"),
    TWELVELABS: ("no segment", "fewer segments", "what is spoken missing", "one page less"),
    MIXPEEK_DOCUMENTS: ("no document", "fewer documents", "no vector", "a named vector missing", "one page less"),
}
NORMAL = ("a modality missing",)
FOR_A_WHOLE_RUN = {
    MIXPEEK: ("one page less",),
    TWELVELABS: ("no segment",),
    MIXPEEK_DOCUMENTS: ("no vector",),
}
SHORT = [
    (service, trouble)
    for service, names in ONCE.items()
    for trouble in one_of_each(plausible_answers_of(service))
    if trouble.kind in names
]
METADATA = ("entities", "entity_collections", "indexes")
"""Tables beside the assets: they are read whole in each run, so that what is missing in one comes back in the next."""

GENERATIONS = "_sync_vectors"
"""Where it stays on record that there were vectors of another dimension for a while."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox() as running:
        yield running


@pytest.fixture(scope="module")
def worlds(sandbox: Sandbox, postgres_url: str) -> Iterator[Worlds]:
    """Each service's, with what an undisturbed sync of it leaves."""
    with troubled_worlds(sandbox, postgres_url, "t_plausible") as each:
        yield each


def check(world: TroubledWorld, connection: psycopg.Connection, schema: str, trouble: Trouble) -> Outcome:
    """Nothing has gone; what is wrong after one healthy run that reads all again."""
    assert world.mislead(trouble, schema) > 0, trouble
    lost = [table for table in world.lost(connection, schema) if table not in METADATA]
    assert lost == [], trouble
    healed = world.heal(schema)
    assert healed.exit_code == 0, (trouble, healed.to_dict())
    return world.outcome(connection, schema, without=GENERATIONS)


@pytest.mark.parametrize(
    ("service", "trouble"),
    family(SHORT, [place for place, (_, trouble) in enumerate(SHORT) if trouble.kind in NORMAL]),
    ids=str,
)
def test_nothing_goes_because_of_one_answer_and_what_is_wrong_is_read_again(
    worlds: Worlds, connection: psycopg.Connection, schema: str, service: Service, trouble: Trouble
) -> None:
    world = worlds(service)
    assert check(world, connection, schema, trouble) == Outcome()
    assert differences(connection, world.undisturbed, schema) == []


@pytest.mark.long
@pytest.mark.parametrize("service", FOR_A_WHOLE_RUN, ids=str)
def test_nothing_goes_in_a_run_of_such_answers(
    worlds: Worlds, connection: psycopg.Connection, schema: str, service: Service
) -> None:
    for number, trouble in enumerate(plausible_answers_of(service, **ALWAYS)):
        if trouble.kind in FOR_A_WHOLE_RUN[service]:
            name = f"{schema}_{service}_{number}"
            assert check(worlds(service), connection, name, trouble) == Outcome()
            connection.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("service", SERVICES, ids=str)
def test_no_plausible_answer_removes_anything_or_stays(
    worlds: Worlds, connection: psycopg.Connection, schema: str, service: Service
) -> None:
    total, runs = Outcome(), 0
    for rule in ({}, {"times": 3}, {"nth": 1, **ALWAYS}):
        for trouble in plausible_answers_of(service, **rule):
            runs += 1
            name = f"{schema}_{runs}"
            found = check(worlds(service), connection, name, trouble)
            connection.execute(f"DROP SCHEMA {name} CASCADE")
            print(f"{trouble.name:60} {rule or 'once'!s:30} {found}")
            total += found
    print(f"{service}: {runs} runs, no row deleted without the guard; wrong after one reread: {total}")
    assert total == Outcome()
