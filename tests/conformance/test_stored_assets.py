"""Whoever can fill other destinations gives back what it was given, bit by bit; the one in memory is the model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vectorferry.connector.plugin import (
    MODALITIES,
    Batch,
    Capability,
    Destination,
    MappedAsset,
    MappedFeature,
    Modality,
    Reason,
    Rejected,
    SchemaMapping,
    SparseVector,
    Vector,
    vector_hash,
)
from vectorferry.connector.testing import MemoryDestination, refill
from vectorferry.destinations import PgvectorDestination

from .. import builders
from ..builders import asset, batch, dense, sparse
from ..examples import examples
from ..tables import differences
from .conftest import NewPlace

MAPPING = SchemaMapping.model_validate(
    {
        "video": {
            "columns": {
                "takes": {"path": "takes", "type": "bigint"},
                "is_final": {"path": "is_final", "type": "boolean"},
                "shot_at": {"path": "shot_at", "type": "timestamptz"},
            },
            "vectors": {"half": {"storage": "halfvec"}},
        }
    }
)


feature = partial(builders.feature, mapping=MAPPING)


@pytest.fixture(params=["memory", "pgvector"])
def make(request: pytest.FixtureRequest, new_place: NewPlace) -> Callable[[], Destination]:
    """Makes stores of one kind, each empty and prepared."""

    def made() -> Destination:
        store: Destination = new_place(request.param)()
        store.prepare(MAPPING)
        return store

    return made


@pytest.fixture
def store(make: Callable[[], Destination]) -> Destination:
    """One of each kind, empty and prepared."""
    return make()


def plain(vector: Vector) -> object:
    if isinstance(vector, SparseVector):
        assert vector.indices.dtype == np.int32
        assert vector.values.dtype == np.float32
        return vector.indices.tobytes(), vector.values.tobytes()
    assert vector.dtype == np.float32
    assert vector.flags.c_contiguous
    return vector.tobytes()


def told(assets: Iterator[MappedAsset] | Any) -> list[object]:
    """Everything about these assets, as values that can be compared."""
    return [
        [
            *(getattr(one, name) for name in MappedAsset.__dataclass_fields__ if name not in {"features", "rejected"}),
            sorted(map(str, one.rejected)),
            [feature_told(each) for each in one.features],
        ]
        for one in assets
    ]


def feature_told(one: MappedFeature) -> object:
    vectors = {name: plain(vector) for name, vector in one.vectors.items()}
    rest = (one.feature_id, one.modality, list(one.columns.items()), one.metadata, one.extra, one.row_hash)
    return *rest, vectors, dict(one.vector_hashes)


def test_it_is_one(store: Destination) -> None:
    assert Capability.STORED_ASSETS in store.capabilities


def test_an_empty_one_has_nothing_to_give(store: Destination) -> None:
    assert list(store.stored_collections()) == []
    assert list(store.stored("ads", ["a"])) == []
    assert list(store.stored("ads", [])) == []


def test_every_value_comes_back_as_it_was_applied(store: Destination) -> None:
    whole = feature(
        "f",
        {"model": dense(1e-45, -0.0, 3.4e38), "words": sparse({0: 0.25, 30_521: 1.5}), "none": sparse({})},
        metadata={"by": "日本語", "n": 10**30, "deep": {"list": [1, None, 2.5, True]}},
        text="it's “here”\n\\",
        start_time=0.1,
        takes=2**53 + 1,
        is_final=False,
        shot_at=datetime(2024, 11, 7, 14, 31, 56, 428_000, tzinfo=UTC),
        json_output={"emotions": ["joy"]},
    )
    given_assets = [asset("a", whole, feature("g", {}, modality=Modality.IMAGE)), asset("b")]
    store.apply(batch(*given_assets))
    assert told(store.stored("ads", ["b", "a", "never there"])) == told(given_assets)


def test_only_the_assets_and_the_collection_asked_for_come(store: Destination) -> None:
    store.apply(batch(*(asset(name, feature("f")) for name in "abc")))
    store.apply(batch(asset("a", feature("other")), collection="films"))
    store.apply(batch(asset("without features"), collection="stills"))
    assert list(store.stored_collections()) == ["ads", "films", "stills"]
    assert [one.asset_id for one in store.stored("ads", ["c", "a"])] == ["a", "c"]
    (other,) = store.stored("films", ["a", "b"])
    assert [one.feature_id for one in other.features] == ["other"]


def test_what_was_set_aside_comes_along_and_what_was_never_read_does_not(store: Destination) -> None:
    aside = Rejected("a", Reason.NOT_FINITE, "NaN", "g", "video")
    store.apply(batch(asset("a", feature("f"), rejected=[aside]), rejected=[Rejected("b", Reason.UNREADABLE, "500")]))
    (one,) = store.stored("ads", ["a", "b"])
    assert one.rejected == (aside,)


def test_a_removed_asset_is_not_given(store: Destination) -> None:
    store.apply(batch(asset("a", feature("f")), asset("b")))
    store.remove("ads", ["a"])
    assert [one.asset_id for one in store.stored("ads", ["a", "b"])] == ["b"]


def test_many_features_are_streamed_in_order(store: Destination) -> None:
    """More rows than any store fetches at once, in assets of very different sizes."""
    sizes = {"a": 0, "b": 1_201, "c": 1, "d": 700}
    store.apply(batch(*(asset(name, *(feature(f"{n:04}") for n in range(size))) for name, size in sizes.items())))
    given_back = {one.asset_id: one for one in store.stored("ads", list(sizes))}
    assert {name: len(one.features) for name, one in given_back.items()} == sizes
    names = [one.feature_id for one in given_back["b"].features]
    assert names == sorted(names)


def test_one_that_is_left_half_way_goes_on_working(store: Destination) -> None:
    store.apply(batch(asset("a", feature("f")), asset("b", feature("f"))))
    stream = iter(store.stored("ads", ["a", "b"]))
    assert next(stream).asset_id == "a"
    stream.close()  # type: ignore[attr-defined]
    assert len(list(store.stored("ads", ["a", "b"]))) == 2
    assert store.apply(batch(asset("b"))).features[Modality.VIDEO].deleted == 1


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
IDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=3)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
DENSE = st.lists(FLOATS, min_size=3, max_size=3).map(lambda numbers: np.array(numbers, dtype=np.float32))
SPARSE = st.dictionaries(st.integers(0, 2**20), FLOATS.filter(bool), max_size=4).map(sparse)
VECTORS = st.fixed_dictionaries({}, optional={"dense": DENSE, "sparse": SPARSE, "other": DENSE})
JSON = st.dictionaries(TEXTS, st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), TEXTS), max_size=3)
FEATURES = st.builds(
    lambda name, vectors, modality, metadata, text: feature(
        name, vectors, modality=modality, metadata=metadata, text=text
    ),
    IDS,
    VECTORS,
    st.sampled_from(MODALITIES),
    JSON,
    TEXTS,
)
ASSETS = st.builds(
    lambda name, features: asset(name, *features),
    IDS,
    st.lists(FEATURES, max_size=4, unique_by=lambda one: one.feature_id),
)
BATCHES = st.lists(ASSETS, max_size=4, unique_by=lambda one: one.asset_id).map(lambda assets: batch(*assets))


@settings(max_examples=examples(2, 60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(BATCHES, min_size=1, max_size=3))
def test_whatever_was_applied_comes_back_as_from_the_one_in_memory(
    make: Callable[[], Destination], batches: list[Batch]
) -> None:
    model = MemoryDestination()
    with closing(make()) as store:
        for each in batches:
            store.apply(each)
            model.apply(each)
        names = [one.asset_id for each in batches for one in each.assets]
        assert told(store.stored("ads", names)) == told(model.stored("ads", names))


def test_vectors_that_are_stored_less_precisely_come_with_a_hash_of_their_own(postgres_url: str, schema: str) -> None:
    with closing(PgvectorDestination(schema, postgres_url)) as store:
        store.prepare(MAPPING)
        store.apply(batch(asset("a", feature("f", {"half": dense(0.1), "words": sparse({3: 0.0, 7: 0.5})}))))
        (one,) = next(iter(store.stored("ads", ["a"]))).features
    half, words = dense(0.1).astype(np.float16).astype(np.float32), sparse({7: 0.5})
    assert {name: plain(vector) for name, vector in one.vectors.items()} == {"half": plain(half), "words": plain(words)}
    assert one.vector_hashes == {"half": vector_hash(half), "words": vector_hash(words)}


def test_a_named_vector_that_another_process_brought_is_given_as_well(postgres_url: str, schema: str) -> None:
    with (
        closing(PgvectorDestination(schema, postgres_url)) as store,
        closing(PgvectorDestination(schema, postgres_url)) as other,
    ):
        store.prepare(MAPPING)
        other.prepare(MAPPING)
        other.apply(batch(asset("a", feature("f", {"brand-new": dense(1)}))))
        (one,) = next(iter(store.stored("ads", ["a"]))).features
    assert list(one.vectors) == ["brand-new"]


@pytest.mark.long
@settings(max_examples=examples(3), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(BATCHES, min_size=1, max_size=3))
def test_another_pgvector_filled_from_it_holds_the_same_row_by_row(
    make: Callable[[], Destination], postgres_url: str, new_schema: Callable[[], str], batches: list[Batch]
) -> None:
    schemas = [new_schema() for _ in range(2)]
    with ExitStack() as opened:
        store = opened.enter_context(closing(make()))
        direct, target = (
            opened.enter_context(closing(PgvectorDestination(schema, postgres_url))) for schema in schemas
        )
        direct.prepare(MAPPING)
        for each in batches:
            store.apply(each)
            direct.apply(each)
        direct.build_indexes()
        assert asyncio.run(refill(store, target, name="media", mapping=MAPPING)).exit_code == 0
        connection = opened.enter_context(psycopg.connect(postgres_url))
        assert differences(connection, *schemas) == []
