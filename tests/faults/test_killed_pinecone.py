"""Kill -9 a sync into Pinecone anywhere, run it again: store and manifest are those of an undisturbed run."""

from __future__ import annotations

import random
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from vectorferry.connector.sandbox import Fault, GeneratedCatalogue, SandboxSettings, Stall, running_sandbox

from ..examples import family
from ..waiting import PATIENCE
from .killing import SyncEndedError, kill, someone_waits, start, wait_for
from .media import ASSETS, Content
from .mixpeek_media import COLLECTION, serve
from .pinecone_runs import World, unlike

Connection = psycopg.Connection[Any]

MOMENTS = 1
MOMENTS_IN_THE_LONG_RUN = 30

OLD: Content = dict.fromkeys(range(ASSETS), 0)
NEW: Content = dict.fromkeys(range(ASSETS), 1)
LESS: Content = dict.fromkeys(range(ASSETS), 2)
FEWER: Content = dict.fromkeys(range(0, ASSETS, 2), 1)
"""The source when the killed run sees it, and what it may have become by the next run: as it was killed, as it was
before, with features gone, with assets gone."""


@contextmanager
def world(database: str, schema: str, latency_ms: float = 0) -> Iterator[World]:
    """A source without any media yet, and an empty Pinecone."""
    nothing = GeneratedCatalogue(assets=0, collections=(COLLECTION,))
    with running_sandbox(SandboxSettings(generate=nothing, latency_ms=latency_ms)) as sandbox:
        yield World(sandbox, database, schema)


@pytest.fixture(scope="module")
def undisturbed(postgres_url: str) -> Callable[[Content], World]:
    """Synced once, from nothing, with this content."""
    done: dict[str, World] = {}

    def made(content: Content) -> World:
        key = str(content)
        if key not in done:
            with world(postgres_url, f"undisturbed_{uuid.uuid4().hex[:12]}") as new:
                serve(new.sandbox, content)
                new.sync()
            done[key] = new
        return done[key]

    return made


def run_again(killed: World, content: Content, connection: Connection, expected: World) -> None:
    """Whatever the source holds by now: one run makes up for the killed one, and leaves nothing to the next."""
    serve(killed.sandbox, content)
    killed.sync()
    assert unlike(connection, expected, killed) == []
    assert killed.unconfirmed(connection) == 0
    writes = killed.writes()
    killed.sync()
    assert killed.writes() == writes


@pytest.mark.parametrize("kills", [MOMENTS, pytest.param(MOMENTS_IN_THE_LONG_RUN, marks=pytest.mark.long)])
def test_killed_at_random_moments_and_run_again(
    tmp_path: Path,
    postgres_url: str,
    schema: str,
    connection: Connection,
    undisturbed: Callable[[Content], World],
    kills: int,
) -> None:
    moments = random.Random(kills)
    upserts = undisturbed(OLD).sandbox.requests.counts()["pinecone.upsert"]
    for number in range(kills):
        with world(postgres_url, f"{schema}_{number}", latency_ms=5) as killed:
            serve(killed.sandbox, OLD)
            # The last write is not answered, so that no sync is done before it is killed, however late that is.
            killed.sandbox.faults.add(Fault(route="pinecone.upsert", nth=upserts, do=Stall(seconds=PATIENCE)))
            process = start(tmp_path, killed.settings)
            wanted = moments.randrange(12)
            wait_for(process, lambda world=killed, n=wanted: world.writes() >= n)  # type: ignore[misc]
            time.sleep(moments.uniform(0, 0.03))
            kill(process)
            killed.sandbox.faults.clear()
            run_again(killed, OLD, connection, undisturbed(OLD))


@pytest.mark.long
def test_killed_again_and_again_while_the_source_goes_on_changing(
    tmp_path: Path, postgres_url: str, schema: str, connection: Connection, undisturbed: Callable[[Content], World]
) -> None:
    moments = random.Random(2027)
    with world(postgres_url, schema, latency_ms=5) as killed:
        for _ in range(60):
            serve(killed.sandbox, moments.choice((OLD, NEW, LESS, FEWER)))
            writes, wanted = killed.writes(), moments.randrange(1, 12)
            process = start(tmp_path, killed.settings)
            with suppress(SyncEndedError):
                wait_for(process, lambda writes=writes, n=wanted: killed.writes() >= writes + n)  # type: ignore[misc]
                time.sleep(moments.uniform(0, 0.03))
            process.kill()
            _, err = process.communicate()
            assert process.returncode in (0, -signal.SIGKILL), err
            if moments.random() < 0.3:
                content = moments.choice((OLD, NEW, LESS, FEWER))
                run_again(killed, content, connection, undisturbed(content))


PHASES = {
    "journal written, nothing upserted": ("pinecone.upsert", "before"),
    "upserted, not answered": ("pinecone.upsert", "midway"),
    "updated, not answered": ("pinecone.update", "midway"),
    "nothing deleted": ("pinecone.delete", "before"),
    "deleted, not answered": ("pinecone.delete", "midway"),
}
"""Which request of the killed run never gets its answer."""


@pytest.mark.parametrize(
    ("phase", "nth", "content"),
    family(
        [
            ("journal written, nothing upserted", 1, OLD),
            ("journal written, nothing upserted", 3, FEWER),
            ("upserted, not answered", 2, LESS),
            ("updated, not answered", 1, OLD),
            ("nothing deleted", 3, NEW),
            ("deleted, not answered", 1, OLD),
        ],
        always=(),
    ),
)
def test_killed_in_every_phase_of_a_change(
    tmp_path: Path,
    postgres_url: str,
    schema: str,
    connection: Connection,
    undisturbed: Callable[[Content], World],
    phase: str,
    nth: int,
    content: Content,
) -> None:
    route, when = PHASES[phase]
    with world(postgres_url, schema) as killed:
        serve(killed.sandbox, OLD)
        killed.sync()
        serve(killed.sandbox, NEW)
        killed.sandbox.faults.add(Fault(route=route, nth=nth, times=1, do=Stall(seconds=PATIENCE, when=when)))
        process = start(tmp_path, killed.settings)
        wait_for(process, lambda: killed.sandbox.faults.hits() == [1])
        kill(process)
        assert killed.unconfirmed(connection) > 0
        run_again(killed, content, connection, undisturbed(content))


@pytest.mark.long
def test_killed_between_the_last_answer_and_the_manifest(
    tmp_path: Path, postgres_url: str, schema: str, connection: Connection, undisturbed: Callable[[Content], World]
) -> None:
    ledger = f"{schema}._sync_pinecone_ledger"
    with world(postgres_url, schema) as killed, psycopg.connect(postgres_url) as holding:
        serve(killed.sandbox, OLD)
        killed.sync()
        serve(killed.sandbox, NEW)
        holding.execute(f"LOCK TABLE {ledger} IN EXCLUSIVE MODE")  # whoever writes waits, whoever reads does not
        process = start(tmp_path, killed.settings)
        wait_for(process, partial(someone_waits, connection, ledger))
        kill(process)
        holding.rollback()
        assert killed.unconfirmed(connection) > 0
        run_again(killed, OLD, connection, undisturbed(OLD))


@pytest.mark.long
@pytest.mark.parametrize(
    ("phase", "content"),
    family([("nothing deleted", OLD), ("deleted, not answered", FEWER), ("answered, not recorded", OLD)], always=(1,)),
    ids=["nothing deleted", "deleted, not answered", "answered, not recorded"],
)
def test_killed_in_every_phase_of_a_prune(
    tmp_path: Path,
    postgres_url: str,
    schema: str,
    connection: Connection,
    undisturbed: Callable[[Content], World],
    phase: str,
    content: Content,
) -> None:
    """Nothing but deletes is left to do, so the first request and the first write are those of the prune."""
    ledger = f"{schema}._sync_pinecone_ledger"
    with world(postgres_url, schema) as killed, psycopg.connect(postgres_url) as holding:
        serve(killed.sandbox, dict.fromkeys(range(ASSETS), 1))
        killed.sync()
        serve(killed.sandbox, FEWER)
        if phase in PHASES:
            route, when = PHASES[phase]
            killed.sandbox.faults.add(Fault(route=route, times=1, do=Stall(seconds=PATIENCE, when=when)))
        else:
            holding.execute(f"LOCK TABLE {ledger} IN EXCLUSIVE MODE")
        process = start(tmp_path, killed.settings)
        if phase in PHASES:
            wait_for(process, lambda: killed.sandbox.faults.hits() == [1])
        else:
            wait_for(process, partial(someone_waits, connection, ledger))
        kill(process)
        holding.rollback()
        assert killed.unconfirmed(connection) > 0
        run_again(killed, content, connection, undisturbed(content))


@pytest.mark.long
def test_killed_between_making_an_index_and_knowing_it(
    tmp_path: Path, postgres_url: str, schema: str, connection: Connection, undisturbed: Callable[[Content], World]
) -> None:
    with world(postgres_url, schema) as killed:
        serve(killed.sandbox, OLD)
        killed.sandbox.faults.add(Fault(route="pinecone.indexes.get", times=1, do=Stall(seconds=PATIENCE)))
        process = start(tmp_path, killed.settings)
        wait_for(process, lambda: killed.sandbox.faults.hits() == [1])
        kill(process)
        assert len(killed.sandbox.pinecone.indexes()) == 1
        run_again(killed, OLD, connection, undisturbed(OLD))
