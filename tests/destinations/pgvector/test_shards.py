"""The last look at a batch's tokens, and leases that a clock has left behind, beyond what every shard book must do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection as Transaction

from tests.builders import asset, batch, dense, feature
from tests.waiting import wait_until
from vectorferry.connector.plugin import (
    Listing,
    RetryableError,
    SchemaMapping,
    Shard,
    ShardBook,
    SharedRun,
    TakenOverError,
)
from vectorferry.destinations import PgvectorDestination
from vectorferry.destinations._postgres import end_shared_runs, fenced
from vectorferry.destinations.pgvector import _destination

Connection = psycopg.Connection[Any]

LONG, SHORT = 600.0, 0.2


@pytest.fixture
def shared(destination: PgvectorDestination) -> Iterator[Callable[[float], ShardBook]]:
    """Begins a run of one shard, with a lease of so many seconds."""
    with ExitStack() as stack:

        def begun(lease: float) -> ShardBook:
            book = stack.enter_context(closing(destination.shard_book()))
            book.begin(SharedRun("ads", "run", "lister", {}, lease), LONG)
            assert book.add("ads", "run", [Listing("a", "1")])
            return book

        yield begun


@pytest.fixture
def ahead(sql: Connection, schema: str) -> Callable[[float], object]:
    """Puts every lease so many seconds ahead, as setting back the clock does."""
    update = f"UPDATE {schema}._sync_shards SET lease_until = lease_until + %s * interval '1 second'"
    return lambda seconds: sql.execute(update.encode(), [seconds])


@pytest.fixture
def elsewhere(postgres_url: str, sql: Connection, schema: str) -> Iterator[ShardBook]:
    """The book as a worker has it that may not end what others have begun: it works in another role."""
    sql.execute(f"CREATE ROLE {schema}_other; GRANT USAGE ON SCHEMA {schema} TO {schema}_other".encode())
    sql.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {schema}_other".encode())
    mark = "&" if "?" in postgres_url else "?"
    url = f"{postgres_url}{mark}options=-c%20role%3D{schema}_other"
    with closing(PgvectorDestination(schema, url)) as other, closing(other.shard_book()) as book:
        yield book
    sql.execute(f"DROP OWNED BY {schema}_other; DROP ROLE {schema}_other".encode())


def claimed(book: ShardBook, owner: str) -> Shard:
    shard = book.claim("ads", "run", owner)
    assert shard is not None
    return shard


def has_lapsed(book: ShardBook) -> bool:
    (shard,) = book.shards()
    return shard.lease_seconds is not None and shard.lease_seconds < 0


def test_what_is_taken_over_while_it_is_written_is_not_written(
    destination: PgvectorDestination, shared: Callable[[float], ShardBook], elsewhere: ShardBook, sql: Connection
) -> None:
    """Red without the look at the end."""
    book, schema = shared(SHORT), destination._prepared()
    lost = replace(batch(asset("a")), fences=(claimed(book, "one").fence,))
    wait_until(lambda: has_lapsed(book))

    def write() -> None:
        with fenced(schema.database.transaction, schema.tables.sharing, lost) as transaction:
            transaction.execute(text(f"CREATE TABLE {schema.name}.written ()"))
            assert claimed(elsewhere, "two").previous == "one"

    with pytest.raises(TakenOverError, match="shard 1"):
        write()
    assert sql.execute("SELECT to_regclass(%s)", [f"{schema.name}.written"]).fetchone() == (None,)


def test_nothing_is_taken_over_between_the_last_look_and_the_commit(
    destination: PgvectorDestination, shared: Callable[[float], ShardBook], elsewhere: ShardBook
) -> None:
    """Red where that look keeps no lock on the row."""
    book, schema = shared(SHORT), destination._prepared()
    late = replace(batch(asset("a")), fences=(claimed(book, "one").fence,))
    wait_until(lambda: has_lapsed(book))

    @contextmanager
    def slow_to_commit() -> Iterator[Transaction]:
        with schema.database.transaction() as transaction:
            yield transaction
            assert elsewhere.claim("ads", "run", "two") is None

    with fenced(slow_to_commit, schema.tables.sharing, late):
        pass
    assert claimed(elsewhere, "two").previous == "one"


def test_a_table_that_is_gone_from_the_catalogue_is_made_anew_by_the_next_attempt(
    destination: PgvectorDestination, shared: Callable[[float], ShardBook], sql: Connection, schema: str
) -> None:
    """And nothing is recorded of vectors that nobody has written."""
    vectors = {"model-v1": dense(0.5)}
    destination.apply(batch(asset("a", feature("f", vectors))))
    fences = (claimed(shared(LONG), "one").fence,)
    sql.execute(f"DROP TABLE {schema}.video__model_v1 CASCADE; DELETE FROM {schema}._sync_vectors".encode())
    later = replace(batch(asset("b", feature("f", vectors))), fences=fences)
    with pytest.raises(RetryableError, match="model-v1"):
        destination.apply(later)
    destination.apply(later)
    (written,) = destination.stored("ads", ["b"])
    assert [feature.vectors.keys() for feature in written.features] == [vectors.keys()]


def test_what_workers_wrote_until_their_run_was_ended_is_known(
    destination: PgvectorDestination,
    shared: Callable[[float], ShardBook],
    postgres_url: str,
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A table of a new named vector too, which whoever has the lock would otherwise neither compare nor clear."""
    book = shared(LONG)
    late = replace(batch(asset("a", feature("f"))), fences=(claimed(book, "one").fence,))
    with closing(PgvectorDestination(schema, postgres_url)) as worker:
        worker.prepare(SchemaMapping())

        def end(*args: Any) -> None:
            worker.apply(late)
            end_shared_runs(*args)

        monkeypatch.setattr(_destination, "end_shared_runs", end)
        with destination.lock("ads"):
            assert len(destination.vector_kinds()) == 1
            assert destination.stored_collections() == ["ads"]
        with pytest.raises(TakenOverError):
            worker.apply(late)


def test_a_lease_from_before_the_clock_was_set_back_keeps_nobody_waiting(
    shared: Callable[[float], ShardBook], ahead: Callable[[float], object]
) -> None:
    """Red where a lease holds until its time has come, whenever that is."""
    book = shared(SHORT)
    claimed(book, "one")
    ahead(3_600)
    assert book.claim("ads", "run", "two") is None  # whoever is there will be heard of
    wait_until(lambda: book.claim("ads", "run", "two"))
    (shard,) = book.shards()
    assert (shard.owner, shard.token) == ("two", 2)


def test_where_the_clock_was_set_back_nobody_is_taken_over_who_is_heard_of(
    shared: Callable[[float], ShardBook], ahead: Callable[[float], object]
) -> None:
    """Red where whoever claims next takes over, although there is something that nobody has."""
    book = shared(LONG)
    mine = claimed(book, "one")
    ahead(LONG / 2)
    assert book.claim("ads", "run", "two") is None  # as much as a small step of a clock may be
    ahead(LONG + 3_600)
    assert book.add("ads", "run", [Listing("b", "1")])
    assert claimed(book, "two").fence.number == 2
    assert book.claim("ads", "run", "two") is None
    assert book.renew("ads", "run", "one", {}) == []
    assert book.finish("ads", mine.fence, {})
