"""Each destination does what the protocol says, and all of them do the same.

The destination in memory is the model: whatever is applied to it and to another one, both must answer alike.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vectorferry.connector.plugin import (
    MODALITIES,
    Applied,
    Batch,
    Capability,
    Counts,
    Destination,
    MappedAsset,
    MappedFeature,
    Modality,
    Reason,
    Rejected,
    SchemaMapping,
    SearchQuery,
    Vector,
)
from vectorferry.connector.testing import MemoryDestination

from ..builders import asset, batch, dense, feature, sparse
from ..examples import examples, family
from .conftest import NewPlace

NOTHING = Counts()


@pytest.fixture(params=["memory", "pgvector", "pinecone"])
def destination(request: pytest.FixtureRequest, new_place: NewPlace) -> Destination:
    """One of each kind, empty and prepared."""
    empty: Destination = new_place(request.param)()
    empty.prepare(SchemaMapping())
    return empty


def test_an_empty_one_knows_nothing(destination: Destination) -> None:
    assert destination.known("ads", ["a"]) == {}
    assert destination.known("ads", []) == {}
    assert list(destination.asset_ids("ads")) == []
    assert destination.quarantined("ads") == 0
    assert destination.remove("ads", ["a"]).assets == NOTHING


def test_an_id_is_found_whatever_is_in_it_or_in_its_neighbours(destination: Destination) -> None:
    odd = ['say "a"', "back\\slash", "{a,b}", "NULL", "näme 名"]
    destination.apply(batch(asset("a"), *map(asset, odd)))
    for each in odd:
        assert {*destination.known("ads", ["a", each, f"{each} "])} == {"a", each}


def test_the_same_batch_again_changes_nothing(destination: Destination) -> None:
    same = batch(asset("a", feature("f1"), feature("f2")), asset("b"))
    first, again = destination.apply(same), destination.apply(same)
    assert (first.assets, first.features[Modality.VIDEO]) == (Counts(inserted=2), Counts(inserted=2))
    assert (again.assets, again.features[Modality.VIDEO]) == (Counts(unchanged=2), Counts(unchanged=2))


def test_an_asset_is_replaced_as_a_whole(destination: Destination) -> None:
    destination.apply(batch(asset("a", feature("f1"), feature("f2"))))
    applied = destination.apply(batch(asset("a", feature("f2"), feature("f3"), fingerprint="2")))
    assert applied.features[Modality.VIDEO] == Counts(inserted=1, unchanged=1, deleted=1)
    assert destination.known("ads", ["a"])["a"].fingerprint == "2"


def test_row_and_vector_are_judged_apart(destination: Destination) -> None:
    destination.apply(batch(asset("a", feature("f1", text="old"))))
    applied = destination.apply(batch(asset("a", feature("f1", text="new"))))
    assert applied.features[Modality.VIDEO] == Counts(updated=1)
    assert applied.vectors[Modality.VIDEO, "model-v1"] == Counts(unchanged=1)


@pytest.mark.parametrize("after", family([dense(0.5, dimension=3), sparse({1: 0.5})]))
def test_a_vector_may_change_its_dimension_and_its_kind(destination: Destination, after: Vector) -> None:
    destination.apply(batch(asset("a", feature("f1"), feature("f2"))))
    moved = batch(asset("a", feature("f1", {"model-v1": after}), feature("f2"), fingerprint="2"))
    applied = destination.apply(moved)
    assert applied.features[Modality.VIDEO] == Counts(unchanged=2)
    assert applied.vectors[Modality.VIDEO, "model-v1"] == Counts(updated=1, unchanged=1)
    assert applied.rejected == []
    assert destination.apply(moved).vectors[Modality.VIDEO, "model-v1"] == Counts(unchanged=2)
    back = destination.apply(batch(asset("a", feature("f1"), feature("f2"), fingerprint="3")))
    assert back.vectors[Modality.VIDEO, "model-v1"] == Counts(updated=1, unchanged=1)
    assert destination.remove("ads", ["a"]).vectors[Modality.VIDEO, "model-v1"] == Counts(deleted=2)


def test_collections_are_apart(destination: Destination) -> None:
    destination.apply(batch(asset("a", feature("f1"))))
    destination.apply(batch(asset("a", feature("f1")), collection="films"))
    assert destination.remove("ads", ["a"]).features[Modality.VIDEO] == Counts(deleted=1)
    assert list(destination.asset_ids("films")) == ["a"]


def test_removing_again_removes_nothing(destination: Destination) -> None:
    destination.apply(batch(asset("a", feature("f1")), rejected=[Rejected("b", Reason.UNREADABLE, "500")]))
    assert sorted(destination.asset_ids("ads")) == ["a", "b"]
    destination.remove("ads", ["a", "b"])
    assert list(destination.asset_ids("ads")) == []
    assert destination.quarantined("ads") == 0
    assert destination.remove("ads", ["a", "b"]).assets == NOTHING


def test_an_asset_that_could_not_be_read_keeps_its_rows_and_is_read_again(destination: Destination) -> None:
    loaded = batch(asset("a", feature("f1"), fingerprint="1"), asset("b", fingerprint="1"))
    destination.apply(loaded)
    unread = Rejected("a", Reason.UNREADABLE, "500")
    destination.apply(batch(rejected=[unread, Rejected("\0", Reason.BAD_ID, "not text")]))
    known = destination.known("ads", ["a", "b"])
    assert {name: entry.fingerprint for name, entry in known.items()} == {"a": "", "b": "1"}
    back = destination.apply(loaded)
    assert back.features[Modality.VIDEO] == Counts(unchanged=1)
    assert destination.known("ads", ["a"])["a"].fingerprint == "1"
    destination.apply(batch(asset("b", fingerprint="2"), rejected=[Rejected("b", Reason.DUPLICATE_ID, "twice")]))
    assert destination.known("ads", ["b"])["b"].fingerprint == "2"


@pytest.mark.parametrize("kind", ["pgvector", "pinecone"])
def test_a_search_finds_what_others_have_written_since(kind: str, new_place: NewPlace) -> None:
    place = new_place(kind)
    one, other = place(), place()
    one.prepare(SchemaMapping())
    other.prepare(SchemaMapping())
    other.apply(batch(asset("a", feature("f1", {"new": dense(1)}), feature("f2", {"new": dense(2)}))))
    found = one.search(SearchQuery(Modality.VIDEO, "new", like="f1"))
    assert [row["feature_id"] for row in found.rows] == ["f2"]


def test_closing_twice_is_fine(destination: Destination) -> None:
    destination.close()
    destination.close()


MODALITY = st.sampled_from([Modality.VIDEO, Modality.TEXT])
FEATURES: st.SearchStrategy[MappedFeature] = st.builds(
    lambda name, text, modality, vectors: feature(name, vectors, modality=modality, text=text),
    st.sampled_from(["f1", "f2", "f3"]),
    st.sampled_from(["old", "new"]),
    MODALITY,
    st.dictionaries(
        st.sampled_from(["model-v1", "other"]),
        st.builds(
            lambda n, dimension: dense(float(n), dimension=dimension), st.integers(0, 2), st.sampled_from([8, 3])
        ),
        max_size=2,
    ),
)
ASSETS: st.SearchStrategy[MappedAsset] = st.builds(
    lambda name, features, version, bad: asset(
        name,
        *features,
        fingerprint=version,
        rejected=[Rejected(name, Reason.NOT_FINITE, "NaN", "f9", "video")] if bad else [],
    ),
    st.sampled_from(["a", "b", "c"]),
    st.lists(FEATURES, max_size=3, unique_by=lambda one: one.feature_id),  # as the engine sees to
    st.sampled_from(["1", "2"]),
    st.booleans(),
)
BATCHES = st.builds(
    lambda assets, rejected, collection: batch(*assets, collection=collection, rejected=rejected),
    st.lists(ASSETS, max_size=3, unique_by=lambda one: one.asset_id),
    st.lists(st.just(Rejected("d", Reason.UNREADABLE, "500")), max_size=1),
    st.sampled_from(["ads", "films"]),
)
STEPS = st.one_of(BATCHES, st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, unique=True))


def apply_step(destination: Destination, step: Batch | list[str]) -> Applied:
    return destination.remove("ads", step) if isinstance(step, list) else destination.apply(step)


def told(applied: Applied) -> object:
    """What changed, without the zeros that one destination mentions and another does not."""
    features = {modality: counts for modality, counts in applied.features.items() if counts != NOTHING}
    vectors = {key: counts for key, counts in applied.vectors.items() if counts != NOTHING}
    return applied.assets, features, vectors, sorted(map(str, applied.rejected))


def held(destination: Destination) -> object:
    names = ["a", "b", "c", "d"]
    known = {c: dict(destination.known(c, names)) for c in ("ads", "films")}
    features = {
        (collection, name, modality): entry.features.get(modality, 0)
        for collection, entries in known.items()
        for name, entry in entries.items()
        for modality in MODALITIES
    }
    fingerprints = {(c, name): entry.fingerprint for c, entries in known.items() for name, entry in entries.items()}
    ids = {c: sorted(destination.asset_ids(c)) for c in known}
    return fingerprints, features, ids, {c: destination.quarantined(c) for c in known}


@pytest.fixture(params=family(["pgvector", "pinecone"]))
def make(request: pytest.FixtureRequest, new_place: NewPlace) -> Callable[[], Destination]:
    """Makes destinations of one kind, each empty."""
    return lambda: new_place(request.param)()  # noqa: PLW0108 - each time another place


@settings(max_examples=examples(2, 80), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=6))
def test_any_history_leaves_what_it_leaves_in_memory(
    make: Callable[[], Destination], steps: list[Batch | list[str]]
) -> None:
    model = MemoryDestination()
    with closing(make()) as destination:
        destination.prepare(SchemaMapping())
        for step in steps:
            assert told(apply_step(destination, step)) == told(apply_step(model, step))
        assert held(destination) == held(model)


def test_it_names_the_collections_that_it_holds_before_and_after_it_is_prepared(destination: Destination) -> None:
    assert Capability.STORED_COLLECTIONS in destination.capabilities
    assert Capability.PLAN in destination.capabilities
    assert list(destination.stored_collections()) == list(destination.planned(SchemaMapping()).collections()) == []
    destination.apply(batch(asset("a", feature("f1")), asset("b")))
    destination.apply(batch(asset("a", feature("f1")), collection="films"))
    for _ in range(2):
        assert list(destination.stored_collections()) == ["ads", "films"]
        assert list(destination.planned(SchemaMapping()).collections()) == ["ads", "films"]
        destination.remove("ads", ["a"])
    destination.remove("ads", ["b"])
    assert list(destination.stored_collections()) == ["films"]
    destination.apply(batch(collection="broken", rejected=[Rejected("a", Reason.UNREADABLE, "500")]))
    assert list(destination.stored_collections()) == ["broken", "films"]
    assert list(destination.planned(SchemaMapping()).collections()) == ["broken", "films"]
    destination.remove("broken", ["a"])
    assert list(destination.stored_collections()) == ["films"]
