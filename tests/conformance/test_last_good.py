"""What is bad is set aside alone, and what was good of it before stays stored; the one in memory is the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from vectorferry.connector.plugin import (
    Batch,
    Capability,
    Counts,
    Destination,
    Difference,
    Discrepancy,
    MappedFeature,
    Modality,
    Reason,
    Rejected,
    SchemaMapping,
    SearchQuery,
    Vector,
)
from vectorferry.connector.testing import MemoryDestination

from ..builders import asset, batch, dense, feature
from ..examples import examples, family
from .conftest import NewPlace

VIDEO, IMAGE = Modality.VIDEO, Modality.IMAGE
NOTHING = Counts()
GOOD = {"left": dense(1), "right": dense(2)}
NAMELESS = Rejected("a", Reason.MALFORMED, "a feature that is not an object", "video[1]", "video")


pinecone_is_long = pytest.mark.parametrize(
    "store", family(["memory", "pgvector", "pinecone"], always=(0, 1)), indirect=True
)
"""For what is decided alike for both stores."""


@pytest.fixture(params=["memory", "pgvector", "pinecone"])
def store(request: pytest.FixtureRequest, new_place: NewPlace) -> Destination:
    """One of each kind, empty and prepared."""
    empty: Destination = new_place(request.param)()
    empty.prepare(SchemaMapping())
    return empty


def bad(feature_id: str = "f", *, modality: Modality = VIDEO, vector_name: str = "", column: str = "") -> Rejected:
    """A record of a feature, or of a part of it."""
    return Rejected("a", Reason.NOT_FINITE, "infinity", feature_id, modality, vector_name, column)


def nearest(store: Destination, name: str, vector: Vector, modality: Modality = VIDEO) -> list[Any]:
    """The features that are found by a vector at no distance, with their texts."""
    rows = store.search(SearchQuery(modality, name, vector, limit=9)).rows
    return [row for row in rows if abs(float(row.get("distance", 1 - float(row.get("score", 0))))) < 1e-5]


def told(store: Destination) -> list[Rejected]:
    return [record for _, record, _ in store.rejected("ads")]


def digests(store: Destination) -> dict[tuple[str, str], bytes]:
    """Of features and their vectors; the asset's own row is not looked at."""
    return {(one.feature_id, one.vector_name): one.digest for one in store.digests("ads") if one.feature_id}


def counted(store: Destination) -> dict[str, dict[Modality, int]]:
    """Features in the ledger, without the zeros that one destination writes and another does not."""
    known = store.known("ads", ["a"])
    return {name: {m: count for m, count in entry.features.items() if count} for name, entry in known.items()}


def check_clean(store: Destination, features: Mapping[Modality, int]) -> None:
    """Its books agree with what is there."""
    assert list(store.discrepancies("ads")) == []
    assert counted(store) == {"a": features}


def test_an_infinity_costs_one_vector_and_its_earlier_version_stays(store: Destination) -> None:
    store.apply(batch(asset("a", feature("f", GOOD, text="old"), feature("g", GOOD))))
    before = digests(store)
    sibling = feature("f", {"right": dense(3)}, text="new")
    half = batch(asset("a", sibling, feature("g", GOOD), fingerprint="2", rejected=[bad(vector_name="left")]))
    applied = store.apply(half)
    assert applied.features[VIDEO] == Counts(updated=1, unchanged=1)
    assert applied.vectors[VIDEO, "left"] == Counts(unchanged=2, quarantined=1)
    assert applied.vectors[VIDEO, "right"] == Counts(updated=1, unchanged=1)
    after = digests(store)
    assert after["f", "left"] == before["f", "left"]
    assert after["f", ""] == sibling.row_hash
    assert after["f", "right"] == sibling.vector_hashes["right"]
    assert told(store) == applied.rejected == [replace(bad(vector_name="left"), kept=True)]
    check_clean(store, {VIDEO: 2})
    again = store.apply(half)
    assert again.features[VIDEO] == Counts(unchanged=2)
    assert again.vectors[VIDEO, "left"] == Counts(unchanged=2, quarantined=1)
    assert store.quarantined("ads") == 1


@pinecone_is_long
def test_the_row_that_is_found_by_the_earlier_vector_is_the_new_one(store: Destination) -> None:
    store.apply(batch(asset("a", feature("f", GOOD, text="old", transcription="gone"))))
    store.apply(batch(asset("a", feature("f", {"right": dense(3)}, text="new"), rejected=[bad(vector_name="left")])))
    (row,) = nearest(store, "left", dense(1))
    assert "new" in str(row)
    assert "old" not in str(row)
    assert "gone" not in str(row)


@pinecone_is_long
def test_a_good_vector_takes_the_place_of_the_earlier_one(store: Destination) -> None:
    store.apply(batch(asset("a", feature("f", GOOD))))
    store.apply(batch(asset("a", feature("f", {"right": dense(2)}), rejected=[bad(vector_name="left")])))
    better = feature("f", {**GOOD, "left": dense(7)})
    applied = store.apply(batch(asset("a", better, fingerprint="3")))
    assert applied.vectors[VIDEO, "left"] == Counts(updated=1)
    assert digests(store)["f", "left"] == better.vector_hashes["left"]
    assert told(store) == []
    check_clean(store, {VIDEO: 1})


@pinecone_is_long
def test_a_vector_that_never_was_good_is_not_there(store: Destination) -> None:
    applied = store.apply(batch(asset("a", feature("f", {"right": dense(2)}), rejected=[bad(vector_name="left")])))
    assert applied.rejected == told(store) == [bad(vector_name="left")]
    assert digests(store).keys() == {("f", ""), ("f", "right")}
    check_clean(store, {VIDEO: 1})


@pinecone_is_long
def test_a_vector_that_the_source_has_no_more_goes_though_its_sibling_is_bad(store: Destination) -> None:
    store.apply(batch(asset("a", feature("f", GOOD))))
    store.apply(batch(asset("a", feature("f", {}), rejected=[bad(vector_name="left")])))
    assert digests(store).keys() == {("f", ""), ("f", "left")}
    store.apply(batch(asset("a", feature("f", {}), fingerprint="3")))
    assert digests(store).keys() == {("f", "")}
    check_clean(store, {VIDEO: 1})


@pinecone_is_long
def test_an_earlier_vector_of_another_dimension_stays_until_a_good_one_comes(store: Destination) -> None:
    store.apply(batch(asset("a", feature("f", {"left": dense(1, dimension=3)}), feature("g", {"left": dense(1)}))))
    part = batch(asset("a", feature("f", {}), feature("g", {"left": dense(1)}), rejected=[bad(vector_name="left")]))
    assert store.apply(part).vectors[VIDEO, "left"] == Counts(unchanged=2, quarantined=1)
    check_clean(store, {VIDEO: 2})
    both = batch(asset("a", feature("f", {"left": dense(1)}), feature("g", {"left": dense(1)}), fingerprint="3"))
    assert store.apply(both).vectors[VIDEO, "left"] == Counts(updated=1, unchanged=1)
    check_clean(store, {VIDEO: 2})


@pinecone_is_long
def test_a_value_that_does_not_fit_costs_one_column_and_the_earlier_value_stays(store: Destination) -> None:
    store.apply(batch(asset("a", feature("f", GOOD, text="old", transcription="hello"))))
    half = asset("a", feature("f", GOOD, text="new"), rejected=[bad(column="transcription")], fingerprint="2")
    for _ in range(2):
        applied = store.apply(batch(half))
        assert applied.features[VIDEO].quarantined == 1
        assert applied.vectors[VIDEO, "left"] == Counts(unchanged=1)
        assert told(store) == applied.rejected == [replace(bad(column="transcription"), kept=True)]
        (row,) = nearest(store, "left", dense(1))
        assert "hello" in str(row)
        assert "new" in str(row)
        check_clean(store, {VIDEO: 1})
    assert applied.features[VIDEO] == Counts(unchanged=1, quarantined=1)
    store.apply(batch(asset("a", feature("f", GOOD, text="new", transcription="bye"), fingerprint="3")))
    (row,) = nearest(store, "left", dense(1))
    assert "bye" in str(row)
    assert told(store) == []
    check_clean(store, {VIDEO: 1})


@pinecone_is_long
def test_a_column_without_an_earlier_value_is_empty(store: Destination) -> None:
    store.apply(batch(asset("a", feature("f", GOOD, text="old"))))
    store.apply(batch(asset("a", feature("f", GOOD, text="old"), rejected=[bad(column="transcription")])))
    assert told(store) == [bad(column="transcription")]
    check_clean(store, {VIDEO: 1})


@pinecone_is_long
def test_a_feature_that_is_bad_as_a_whole_stays_as_it_was(store: Destination) -> None:
    store.apply(batch(asset("a", feature("f", GOOD, text="old"), feature("g", GOOD))))
    before = digests(store)
    whole = batch(asset("a", feature("g", GOOD), fingerprint="2", rejected=[bad()]))
    for _ in range(2):
        applied = store.apply(whole)
        assert applied.features[VIDEO] == Counts(unchanged=2, quarantined=1)
        assert applied.vectors[VIDEO, "left"] == applied.vectors[VIDEO, "right"] == Counts(unchanged=2)
        assert told(store) == applied.rejected == [replace(bad(), kept=True)]
        assert digests(store) == before
        check_clean(store, {VIDEO: 2})
    store.apply(batch(asset("a", feature("g", GOOD), fingerprint="3")))
    assert digests(store).keys() == {("g", ""), ("g", "left"), ("g", "right")}
    assert told(store) == []
    check_clean(store, {VIDEO: 1})


@pinecone_is_long
def test_the_earlier_version_of_a_feature_that_becomes_another_modality_stays(store: Destination) -> None:
    store.apply(batch(asset("a", feature("f", GOOD))))
    store.apply(batch(asset("a", fingerprint="2", rejected=[bad(modality=IMAGE)])))
    check_clean(store, {VIDEO: 1})
    assert told(store) == [replace(bad(modality=IMAGE), kept=True)]
    # Its row is good by now: what is stored of the video is no version of the image.
    image = feature("f", {"right": dense(2)}, modality=IMAGE)
    store.apply(batch(asset("a", image, fingerprint="3", rejected=[bad(modality=IMAGE, vector_name="left")])))
    assert digests(store).keys() == {("f", ""), ("f", "right")}
    assert told(store) == [bad(modality=IMAGE, vector_name="left")]
    check_clean(store, {IMAGE: 1})


@pinecone_is_long
def test_a_record_without_a_name_may_be_of_any_feature_that_is_missing(store: Destination) -> None:
    features = [feature("f", GOOD), feature("g", GOOD), feature("i", GOOD, modality=IMAGE)]
    store.apply(batch(asset("a", *features)))
    applied = store.apply(batch(asset("a", feature("f", GOOD, text="new"), fingerprint="2", rejected=[NAMELESS])))
    assert applied.features[VIDEO] == Counts(updated=1, unchanged=1, quarantined=1)
    assert applied.features[IMAGE] == Counts(deleted=1)
    assert told(store) == applied.rejected == [replace(NAMELESS, kept=True)]
    check_clean(store, {VIDEO: 2})
    store.apply(batch(asset("a", feature("f", GOOD), fingerprint="3")))
    check_clean(store, {VIDEO: 1})


@pinecone_is_long
def test_modalities_that_were_not_read_are_left_alone(store: Destination) -> None:
    store.apply(batch(asset("a", feature("f", GOOD), feature("i", GOOD, modality=IMAGE))))
    store.apply(batch(asset("a", fingerprint="2", rejected=[bad()]), modalities=[VIDEO]))
    assert digests(store).keys() == {(name, part) for name in "fi" for part in ("", "left", "right")}
    assert list(store.discrepancies("ads")) == []


@pinecone_is_long
def test_an_asset_that_is_gone_takes_its_earlier_versions_along(store: Destination) -> None:
    store.apply(batch(asset("a", feature("f", GOOD))))
    store.apply(batch(asset("a", rejected=[bad()], fingerprint="2")))
    store.remove("ads", ["a"])
    assert (digests(store), told(store), list(store.asset_ids("ads"))) == ({}, [], [])
    assert list(store.discrepancies("ads")) == []


@pinecone_is_long
def test_an_asset_that_is_set_aside_as_a_whole_is_marked_where_it_is_stored(store: Destination) -> None:
    store.apply(batch(asset("a", feature("f", GOOD))))
    unread = [Rejected(name, Reason.UNREADABLE, "500") for name in "ab"]
    applied = store.apply(batch(rejected=unread))
    assert told(store) == applied.rejected == [replace(unread[0], kept=True), unread[1]]


@pinecone_is_long
def test_a_vector_that_a_check_has_found_to_be_another_one_is_no_good_version(store: Destination) -> None:
    store.apply(batch(asset("a", feature("f", GOOD))))
    store.distrust("ads", [Discrepancy(Difference.DIFFERENT, "a", "f", VIDEO, "left")])
    store.apply(batch(asset("a", feature("f", {"right": dense(2)}), rejected=[bad(vector_name="left")])))
    assert digests(store).keys() == {("f", ""), ("f", "right")}
    assert told(store) == [bad(vector_name="left")]
    check_clean(store, {VIDEO: 1})


@pinecone_is_long
def test_a_wrong_kind_of_id_or_name_does_no_harm(store: Destination) -> None:
    odd = [Rejected("a", Reason.BAD_ID, "NUL", "\0", "video"), bad("#1"), bad(vector_name="\0"), bad(modality=VIDEO)]
    store.apply(batch(asset("a", feature("f", GOOD))))
    store.apply(batch(asset("a", feature("f", GOOD), rejected=odd)))
    assert [record.kept for record in told(store)] == [False] * 4
    check_clean(store, {VIDEO: 1})


@pinecone_is_long
def test_a_column_less_exact_than_the_source_is_not_written_again(store: Destination) -> None:
    many = {"left": dense(0.1, dimension=2_001), "right": dense(2)}  # half precision in Postgres
    store.apply(batch(asset("a", feature("f", many))))
    before = digests(store)
    half = batch(asset("a", feature("f", {"right": dense(2)}), rejected=[bad(vector_name="left")]))
    assert store.apply(half).vectors[VIDEO, "left"] == Counts(unchanged=1, quarantined=1)
    assert digests(store) == before
    check_clean(store, {VIDEO: 1})


@pinecone_is_long
def test_what_was_hidden_with_its_asset_counts_as_gone(store: Destination) -> None:
    if Capability.TOMBSTONES not in store.capabilities:
        pytest.skip("deletes for good")
    store.apply(batch(asset("a", feature("f", GOOD, transcription="hello"), feature("g", GOOD))))
    store.tombstone("ads", ["a"])
    parts = [bad(vector_name="left"), bad(column="transcription"), bad("g")]
    store.apply(batch(asset("a", feature("f", {"right": dense(2)}), rejected=parts)))
    assert not any(record.kept for record in told(store))
    assert digests(store).keys() == {("f", ""), ("f", "right")}
    check_clean(store, {VIDEO: 1})


@pinecone_is_long
def test_another_destination_is_filled_with_it(store: Destination) -> None:
    if Capability.STORED_ASSETS not in store.capabilities:
        pytest.skip("cannot be filled from")
    store.apply(batch(asset("a", feature("f", GOOD, transcription="hello"), feature("g", GOOD))))
    parts = [bad(vector_name="left"), bad(column="transcription"), bad("g")]
    store.apply(batch(asset("a", feature("f", {"right": dense(3)}), rejected=parts, fingerprint="2")))
    target = MemoryDestination()
    target.apply(batch(*store.stored("ads", ["a"])))
    assert told(target) == told(store)
    assert [record.kept for record in told(target)] == [True] * 3
    assert digests(target) == digests(store)
    check_clean(target, {VIDEO: 2})


@pinecone_is_long
def test_a_row_of_an_earlier_mapping_is_found_to_be_what_it_is(store: Destination) -> None:
    store.apply(batch(asset("a", feature("f", GOOD, text="old"))))
    mapping = SchemaMapping.model_validate({"video": {"columns": {"author": {"path": "metadata.author"}}}})
    store.prepare(mapping)
    store.apply(batch(asset("a", rejected=[bad()], fingerprint="2")))
    assert told(store) == [replace(bad(), kept=True)]
    check_clean(store, {VIDEO: 1})


NAMES = st.sampled_from(["left", "right"])
PARTS = st.fixed_dictionaries(
    {
        "vectors": st.dictionaries(NAMES, st.sampled_from([1, 2]), max_size=2),
        "text": st.sampled_from(["old", "new", None]),
        "transcription": st.sampled_from(["hello", "bye", None]),
        "modality": st.sampled_from([VIDEO, VIDEO, IMAGE]),
        "whole": st.sampled_from([False, False, True]),
        "bad_vectors": st.sets(NAMES, max_size=2),
        "bad_column": st.booleans(),
    }
)


def step(features: Mapping[str, Any], nameless: bool) -> Batch:
    """An asset with these features."""
    loaded: list[MappedFeature] = []
    rejected: list[Rejected] = []
    for name, part in features.items():
        modality = part["modality"]
        if part["whole"]:
            rejected.append(bad(name, modality=modality))
            continue
        vectors = {key: dense(number) for key, number in part["vectors"].items() if key not in part["bad_vectors"]}
        said = None if part["bad_column"] else part["transcription"]
        loaded.append(feature(name, vectors, modality=modality, text=part["text"], transcription=said))
        rejected += [bad(name, modality=modality, vector_name=key) for key in sorted(part["bad_vectors"])]
        rejected += [bad(name, modality=modality, column="transcription")] if part["bad_column"] else []
    return batch(asset("a", *loaded, rejected=[*rejected, *([NAMELESS] if nameless else [])]))


STEPS = st.one_of(
    *[
        st.builds(
            step,
            st.dictionaries(st.sampled_from(["f", "g"]), PARTS, max_size=2),
            st.sampled_from([False, False, True]),
        )
    ]
    * 4,
    st.just("remove"),
)


def _bad_columns_without_a_record(steps: Sequence[Batch | str]) -> bool:
    """Whether a column is bad of a feature that has no vector at some time: Pinecone then has no record of it."""
    assets = [asset for each in steps if isinstance(each, Batch) for asset in each.assets]
    bad_columns = {record.feature_id for asset in assets for record in asset.rejected if record.column}
    return any(one.feature_id in bad_columns and not one.vectors for asset in assets for one in asset.features)


def changes(store: Destination, what: Batch | str) -> object:
    applied = store.remove("ads", ["a"]) if isinstance(what, str) else store.apply(what)
    features = {modality: counts for modality, counts in applied.features.items() if counts != NOTHING}
    vectors = {key: counts for key, counts in applied.vectors.items() if counts != NOTHING}
    return applied.assets, features, vectors, sorted(map(str, applied.rejected))


@pytest.mark.long
@settings(max_examples=examples(4), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("kind", ["pgvector", "pinecone"])
@given(steps=st.lists(STEPS, min_size=2, max_size=5))
def test_any_history_leaves_what_it_leaves_in_memory(new_place: NewPlace, kind: str, steps: list[Batch | str]) -> None:
    assume(kind != "pinecone" or not _bad_columns_without_a_record(steps))
    model = MemoryDestination()
    with closing(new_place(kind)()) as store:
        store.prepare(SchemaMapping())
        for each in steps:
            assert changes(store, each) == changes(model, each)
            assert told(store) == told(model)
        assert list(store.discrepancies("ads")) == list(model.discrepancies("ads")) == []
        assert digests(store).keys() == digests(model).keys()
        assert counted(store) == counted(model)
