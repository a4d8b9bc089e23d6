"""Two processes write into one manifest at once: in the end it says what the store holds."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from sqlalchemy import NestedTransaction

from vectorferry.connector.plugin import (
    MODALITIES,
    Batch,
    Cursor,
    DestinationError,
    Fence,
    Listing,
    LockLostError,
    Modality,
    Reason,
    Rejected,
    RetryableError,
    SharedRun,
)
from vectorferry.connector.sandbox import Fault, Sandbox, Stall
from vectorferry.destinations import PineconeDestination
from vectorferry.destinations.pinecone import _manifest
from vectorferry.destinations.pinecone._manifest import Manifest
from vectorferry.destinations.pinecone._manifest_rows import journal
from vectorferry.destinations.pinecone._manifest_tables import Place, RecordedAssets
from vectorferry.destinations.pinecone._writer import IndexWriter

from ...builders import asset, batch, dense, feature
from ...waiting import PATIENCE, wait_until
from .conftest import Open
from .store import INDEX, delete_index, stored_ids

WAITING = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'ROLLBACK TO SAVEPOINT%'"
"""The last words of who has just found a lock to be another one's."""
ENDED = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'vectorferry%'"


COMPLETE = Cursor("1", "", frozenset(MODALITIES))


def version(number: int) -> Batch:
    return batch(asset("a", feature("f1", {"model-v1": dense(number)}), fingerprint=str(number)))


def first_number(sandbox: Sandbox) -> float:
    return float(sandbox.pinecone.records(INDEX, "ads")["a#f1"]["values"][0])


def end_connections(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as postgres:
        postgres.execute(ENDED)


def overtake(patches: pytest.MonkeyPatch, postgres_url: str, work: Callable[[], object]) -> None:
    """Before the next write goes to Pinecone, Postgres forgets who sends it, and this is done."""
    upsert = IndexWriter.upsert

    def overtaken(writer: IndexWriter, *arguments: Any) -> Any:
        patches.setattr(IndexWriter, "upsert", upsert)
        end_connections(postgres_url)
        work()
        return upsert(writer, *arguments)

    patches.setattr(IndexWriter, "upsert", overtaken)


def known_as(destination: PineconeDestination) -> str:
    return destination.known("ads", ["a"])["a"].fingerprint


def test_what_is_recorded_is_what_was_written_last(
    sandbox: Sandbox, open_pinecone: Open, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is about to record what it wrote when the other one comes with something older."""
    one, other = open_pinecone(), open_pinecone()
    one.apply(version(0))
    confirm = Manifest.confirm
    writes: list[Future[Any]] = []

    def overtaken(manifest: Manifest, *arguments: Any) -> None:
        if not writes:
            writes.append(pool.submit(other.apply, version(1)))
            with psycopg.connect(postgres_url, autocommit=True) as watching:
                wait_until(lambda: writes[0].done() or bool(watching.execute(WAITING).fetchall()))
        confirm(manifest, *arguments)

    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(Manifest, "confirm", overtaken)
        one.apply(version(2))
        writes[0].result()
    assert (known_as(one), first_number(sandbox)) == ("1", 1)
    one.apply(version(2))
    assert (known_as(one), first_number(sandbox)) == ("2", 2)


def test_a_batch_is_entered_before_its_last_answer_and_seen_by_nobody_until_then(
    sandbox: Sandbox, open_pinecone: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = open_pinecone(), open_pinecone()
    enter = Manifest.enter
    recorded: list[RecordedAssets] = []

    def entered(manifest: Manifest, *arguments: Any) -> NestedTransaction:
        entry = enter(manifest, *arguments)
        recorded.append(other._manifest.recorded("ads", ["a"]))
        sandbox.faults.clear()
        return entry

    monkeypatch.setattr(Manifest, "enter", entered)
    sandbox.faults.add(Fault(route="pinecone.upsert", do=Stall(seconds=PATIENCE)))
    one.apply(version(1))
    (seen,) = recorded
    assert (seen.features, seen.assets, len(seen.unconfirmed)) == ({}, {}, 1)
    assert known_as(other) == "1"


def test_who_has_lost_the_turn_records_nothing_and_does_all_of_it_again(
    sandbox: Sandbox, open_pinecone: Open, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres ends every connection between Pinecone's last answer and the manifest."""
    destination = open_pinecone()
    destination.apply(batch(asset("a", feature("f0"))))
    confirm = Manifest.confirm

    def ended(manifest: Manifest, *arguments: Any) -> None:
        with psycopg.connect(postgres_url, autocommit=True) as postgres:
            postgres.execute(ENDED)
        confirm(manifest, *arguments)

    later = batch(asset("a", feature("f1"), feature("f2"), fingerprint="2"))
    with monkeypatch.context() as patches:
        patches.setattr(Manifest, "confirm", ended)
        with pytest.raises(RetryableError):
            destination.apply(later)
    assert destination.known("ads", ["a"]) == {}
    applied = destination.apply(later)
    (counts,) = applied.features.values()
    assert (counts.inserted, counts.deleted) == (2, 1)
    assert stored_ids(sandbox) == {"a#f1", "a#f2"}
    assert known_as(destination) == "2"


@pytest.mark.long
def test_an_index_that_another_process_has_just_made_is_not_looked_up(sandbox: Sandbox, open_pinecone: Open) -> None:
    one, other = open_pinecone(), open_pinecone()
    one.apply(version(0))
    other.apply(batch(asset("b", feature("f1")), collection="films"))
    assert "pinecone.list" not in sandbox.requests.counts()
    assert known_as(one) == "0"


def test_the_indexes_are_listed_while_the_manifest_is_made(
    sandbox: Sandbox, open_pinecone: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others have done since then counts: one index is gone by then, and another one is there."""
    prepare = Manifest.prepare

    def prepared(manifest: Manifest) -> None:
        wait_until(lambda: sandbox.requests.counts()["pinecone.indexes.list"] == listed + 1)
        delete_index(sandbox)
        with monkeypatch.context() as patches:
            patches.setattr(Manifest, "prepare", prepare)
            open_pinecone().apply(batch(asset("a", feature("f1", {"model-v2": dense(1)}))))
        prepare(manifest)

    open_pinecone().apply(version(0))
    listed = sandbox.requests.counts()["pinecone.indexes.list"]
    monkeypatch.setattr(Manifest, "prepare", prepared)
    other = open_pinecone()
    assert [row.vector_name for row in other._manifest.indexes().values()] == ["model-v2"]
    assert "pinecone.list" not in sandbox.requests.counts(), "nothing is looked up"
    assert known_as(other) == "1"


def test_first_syncs_of_two_collections_at_once_make_one_index(sandbox: Sandbox, open_pinecone: Open) -> None:
    opened = [open_pinecone() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        batches = [batch(asset("a", feature("f1")), collection=f"c{number}") for number in range(3)]
        for done in [pool.submit(each.apply, one) for each, one in zip(opened, batches, strict=True)]:
            done.result()
    assert sandbox.pinecone.namespaces(INDEX) == {"c0": 1, "c1": 1, "c2": 1}
    assert all(opened[0].known(f"c{number}", ["a"]) for number in range(3))


def test_what_a_worker_overwrites_that_was_taken_over_is_written_again(
    sandbox: Sandbox, open_pinecone: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped before its request went to Pinecone, and goes on when another one has written something newer."""
    one, other = open_pinecone(), open_pinecone()
    upsert = IndexWriter.upsert
    fences: list[Fence] = []

    def claimed(owner: str) -> Fence:
        wait_until(lambda: all((each.lease_seconds or -1) < 0 for each in book.shards()))
        shard = book.claim("ads", "run", owner)
        assert shard is not None
        return shard.fence

    def stopped(writer: IndexWriter, *arguments: Any) -> Any:
        if not fences:
            fences.append(claimed("other"))
            other.apply(replace(version(2), fences=tuple(fences)))
        return upsert(writer, *arguments)

    with closing(other.shard_book()) as book, monkeypatch.context() as patches:
        book.begin(SharedRun("ads", "run", "lister", {}, 0.1), 600)
        book.add("ads", "run", [Listing("a", "2")])
        mine = claimed("one")
        patches.setattr(IndexWriter, "upsert", stopped)
        with pytest.raises((RetryableError, DestinationError)):
            one.apply(replace(version(1), fences=(mine,)))
        assert (other.known("ads", ["a"]), first_number(sandbox)) == ({}, 1)
        other.apply(replace(version(2), fences=tuple(fences)))
    assert (known_as(other), first_number(sandbox)) == ("2", 2)


@pytest.mark.parametrize(
    ("method", "work"),
    [
        ("upsert", lambda destination: destination.apply(version(1))),
        ("delete", lambda destination: destination.remove("ads", ["a"])),
    ],
    ids=["upsert", "delete"],
)
def test_what_one_overwrites_that_has_lost_its_lock_is_written_again(
    sandbox: Sandbox,
    open_pinecone: Open,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    work: Callable[[PineconeDestination], object],
) -> None:
    """The manifest's Postgres restarts before its request goes to Pinecone; another sync begins at once, and ends."""
    one, other = open_pinecone(), open_pinecone()
    one.apply(version(0))
    send = getattr(IndexWriter, method)
    others: list[PineconeDestination] = []

    def overtaken(writer: IndexWriter, *arguments: Any) -> Any:
        if not others:
            others.append(other)
            with psycopg.connect(postgres_url, autocommit=True) as postgres:
                postgres.execute(ENDED)
            with other.lock("ads"):
                other.apply(version(2))
                other.record_cursor("ads", COMPLETE)
        return send(writer, *arguments)

    with one.lock("ads"):
        with monkeypatch.context() as patches:
            patches.setattr(IndexWriter, method, overtaken)
            with pytest.raises(RetryableError):
                work(one)
        with pytest.raises(LockLostError):
            work(one)
    assert others
    assert (other.known("ads", ["a"]), other.cursor("ads")) == ({}, None)
    with other.lock("ads"):
        other.apply(version(2))
    assert (known_as(other), first_number(sandbox)) == ("2", 2)


def test_a_sync_that_was_overwritten_before_its_end_leaves_no_cursor(
    open_pinecone: Open, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next one would be told of changes only, and not of what it has to write again."""
    one, other = open_pinecone(), open_pinecone()
    with ExitStack() as stack:
        with one.lock("ads"), monkeypatch.context() as patches:
            overtake(patches, postgres_url, lambda: stack.enter_context(other.lock("ads")) or other.apply(version(2)))
            with pytest.raises(RetryableError):
                one.apply(version(1))
        other.record_cursor("ads", COMPLETE)
        assert (other.known("ads", ["a"]), other.cursor("ads")) == ({}, None)
        other.apply(version(2))
        other.record_cursor("ads", COMPLETE)
        assert other.cursor("ads") == COMPLETE


def test_what_is_set_aside_keeps_no_sync_from_following_changes(open_pinecone: Open) -> None:
    """A run that was killed has touched it, and nobody knows what is stored of it until it is taken."""
    destination = open_pinecone()
    destination.apply(version(1))
    destination._manifest.begin("ads", {Place("a", "f1", INDEX): Modality.VIDEO})
    rejected = Rejected("a", Reason.NOT_FINITE, "no number", "f1", Modality.VIDEO)
    destination.apply(batch(replace(asset("a", fingerprint="2"), rejected=(rejected,))))
    assert destination.known("ads", ["a"]) == {}
    destination.record_cursor("ads", COMPLETE)
    assert destination.cursor("ads") == COMPLETE


def test_what_was_overwritten_is_remembered_while_postgres_is_away(
    sandbox: Sandbox, open_pinecone: Open, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection ends once more as that is being entered; when it is tried again, the lock is another's."""
    one, other = open_pinecone(), open_pinecone()

    def ended(*arguments: Any) -> None:
        patches.setattr(_manifest, "journal", journal)
        end_connections(postgres_url)
        journal(*arguments)

    def write() -> None:
        with other.lock("ads"):
            other.apply(version(2))
        patches.setattr(_manifest, "journal", ended)

    with one.lock("ads"), monkeypatch.context() as patches:
        overtake(patches, postgres_url, write)
        with pytest.raises(RetryableError):
            one.apply(version(1))
        with pytest.raises(LockLostError):
            one.apply(version(1))
    assert first_number(sandbox) == 1
    assert other.known("ads", ["a"]) == {}
