"""Whoever lets several workers write keeps their shards, and writes nothing of one that is somebody else's by now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from tests.builders import asset, batch, feature
from tests.examples import family
from tests.waiting import wait_until
from vectorferry.connector.plugin import (
    Capability,
    Destination,
    Fence,
    Listing,
    SchemaMapping,
    Shard,
    ShardBook,
    SharedRun,
    TakenOverError,
)

from .conftest import NewPlace, Open

TERMS = {"mapping": "1", "places": {"store": None}}
LONG, SHORT = 600.0, 0.2
ODD = Listing("b", 'nul \0, half a letter \ud800, "quotes" \\ and 🐟', turn="2 x")


@pytest.fixture(params=family(["pgvector", "pinecone"]))
def opened(request: pytest.FixtureRequest, new_place: NewPlace) -> Open:
    """Opens the same place again and again, as several processes do."""
    return new_place(request.param)


@pytest.fixture
def destination(opened: Open) -> Destination:
    """What every worker writes into."""
    made: Destination = opened()
    assert Capability.SHARDS in made.capabilities
    made.prepare(SchemaMapping())
    return made


@contextmanager
def shared(destination: Destination, *shards: list[Listing], lease: float = LONG) -> Iterator[ShardBook]:
    """The book of a run of the collection ads that is going on."""
    with closing(destination.shard_book()) as book:
        book.begin(SharedRun("ads", "run", "lister", TERMS, lease), LONG)
        for listings in shards:
            assert book.add("ads", "run", listings)
        yield book


def claimed(book: ShardBook, owner: str) -> Shard:
    shard = book.claim("ads", "run", owner)
    assert shard is not None
    return shard


def test_each_shard_is_one_workers(destination: Destination) -> None:
    with shared(destination, [Listing("a", "1"), ODD], [Listing("c", "1")]) as book:
        first, second = claimed(book, "one"), claimed(book, "two")
        assert (first.listings, first.fence) == ([Listing("a", "1"), ODD], Fence("run", 1, 1, "one"))
        assert (second.listings, second.previous) == ([Listing("c", "1")], None)
        assert book.claim("ads", "run", "three") is None
        outlook = book.outlook("ads", "run")
        assert (outlook.open, outlook.claimed, outlook.listed, outlook.alive) == (0, 2, False, True)
        assert book.finish("ads", first.fence, {"pulled": 2, "why": "\0"})
        assert [(each.owner, each.result) for each in book.results("ads", "run")] == [
            ("one", {"pulled": 2, "why": "\0"})
        ]
        assert book.results("ads", "run") == []
        assert not book.finish("ads", first.fence, {})
        assert [(each.number, each.state, each.owner) for each in book.shards()] == [
            (1, "counted", "one"),
            (2, "claimed", "two"),
        ]


def test_whoever_is_not_heard_of_is_taken_over_and_writes_nothing_any_more(destination: Destination) -> None:
    with shared(destination, [Listing("a", "1")], lease=SHORT) as book:
        lost = claimed(book, "one")
        destination.apply(replace(batch(asset("a", feature("f"))), fences=(lost.fence,)))
        wait_until(lambda: book.shards()[0].lease_seconds < 0)  # type: ignore[operator]
        taken = claimed(book, "two")
        assert (taken.previous, taken.fence) == ("one", Fence("run", 1, 2, "two"))
        with pytest.raises(TakenOverError, match="shard 1"):
            destination.apply(replace(batch(asset("a", fingerprint="2")), fences=(lost.fence,)))
        assert destination.known("ads", ["a"])["a"].fingerprint == "1"
        assert not book.finish("ads", lost.fence, {})
        assert not book.split("ads", lost.fence, [], [Listing("a", "1")])
        destination.apply(replace(batch(asset("a", fingerprint="3")), fences=(taken.fence,)))
        assert destination.known("ads", ["a"])["a"].fingerprint == "3"


def test_whoever_is_heard_of_keeps_its_shards(destination: Destination) -> None:
    with shared(destination, [Listing(each, "1") for each in "abcd"]) as book:
        shard = claimed(book, "one")
        assert book.renew("ads", "run", "one", {1: 3}) == []
        assert book.ask_for_share("ads", "run")
        assert book.renew("ads", "run", "one", {1: 3}) == [1]
        assert book.split("ads", shard.fence, shard.listings[:1], shard.listings[1:])
        assert book.renew("ads", "run", "one", {1: 0}) == []
        assert not book.ask_for_share("ads", "run")
        assert claimed(book, "two").listings == shard.listings[1:]
        book.release("ads", "run", "two")
        again = claimed(book, "three")
        assert (again.listings, again.fence.token, again.previous) == (shard.listings[1:], 2, None)


def test_where_whoever_lists_is_gone_nothing_is_claimed(destination: Destination) -> None:
    with shared(destination, [Listing("a", "1")]) as book:
        assert [run.terms for run in book.runs()] == [TERMS]
        assert book.renew_run("ads", "run", 0, listed=True)
        assert book.claim("ads", "run", "one") is None
        assert (book.runs(), book.outlook("ads", "run").alive) == ([], False)


def test_whoever_has_the_lock_ends_what_was_shared(destination: Destination) -> None:
    with shared(destination, [Listing("a", "1")]) as book:
        shard = claimed(book, "one")
        with destination.lock("films"):
            assert book.renew("ads", "run", "one", {}) == []
            assert len(book.shards()) == 1
        with destination.lock("ads"):
            assert book.shards() == []
        assert not book.add("ads", "run", [Listing("a", "1")])
        assert not book.renew_run("ads", "run", LONG, listed=False)
        with pytest.raises(TakenOverError):
            destination.apply(replace(batch(asset("a")), fences=(shard.fence,)))


def test_the_other_destinations_know_the_newest_token(destination: Destination) -> None:
    with shared(destination) as book:
        assert book.register("ads", Fence("run", 7, 2, "two"), None)
        assert not book.register("ads", Fence("run", 7, 1, "one"), None)
        assert not book.register("ads", Fence("earlier", 7, 3, "one"), None)
        with pytest.raises(TakenOverError):
            destination.apply(replace(batch(asset("a")), fences=(Fence("run", 7, 1, "one"),)))
        destination.apply(replace(batch(asset("a")), fences=(Fence("run", 7, 2, "two"),)))


def test_what_another_worker_makes_is_known_after_catching_up(destination: Destination, opened: Open) -> None:
    other: Destination = opened()
    other.prepare(SchemaMapping())
    other.apply(batch(asset("a", feature("f"))))
    destination.catch_up()
    assert len(list(destination.vector_kinds())) == 1
