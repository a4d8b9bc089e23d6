"""Whoever can hide assets shows none of them anywhere, and brings them back; the one in memory is the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, TypeAlias

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vectorferry.connector._model._rows import hash_row
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
    Status,
)
from vectorferry.connector.testing import MemoryDestination
from vectorferry.destinations import PgvectorDestination

from .. import builders
from ..builders import batch, dense
from ..examples import examples
from ..waiting import wait_until
from .conftest import NewPlace

VIDEO, IMAGE = Modality.VIDEO, Modality.IMAGE
WRITES = (
    "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables "
    "WHERE schemaname = %s AND relname IN ('video', 'video__model_v1')"
)
CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vectorferry'"

Postgres: TypeAlias = psycopg.Connection[tuple[Any, ...]]


def feature(name: str, modality: Modality = VIDEO, text: str = "", **vectors: float) -> MappedFeature:
    """A feature whose hash is that of its row, with a vector `model-v1` and more that are named."""
    named = {"model-v1": 0.5, **vectors}
    made = builders.feature(name, {key: dense(value) for key, value in named.items()}, modality=modality, text=text)
    return replace(made, row_hash=hash_row(made.columns, made.metadata, made.extra)[0])


def asset(
    name: str, *features: MappedFeature, fingerprint: str = "1", rejected: Sequence[Rejected] = ()
) -> MappedAsset:
    """An asset whose row hash is that of its row."""
    made = builders.asset(name, *features, fingerprint=fingerprint, rejected=rejected)
    named = {key: getattr(made, key) for key in ("modality", "url", "status", "created_at", "updated_at")}
    return replace(made, row_hash=hash_row(named, made.metadata, made.extra)[0])


@pytest.fixture(params=["memory", "pgvector"])
def make(request: pytest.FixtureRequest, new_place: NewPlace) -> Callable[[], Destination]:
    """Makes stores of one kind, each empty and prepared."""

    def made() -> Destination:
        store: Destination = new_place(request.param)()
        store.prepare(SchemaMapping())
        return store

    return made


@pytest.fixture
def store(make: Callable[[], Destination]) -> Destination:
    """One of each kind, empty and prepared."""
    return make()


@pytest.fixture
def pgvector(postgres_url: str, schema: str) -> Iterator[PgvectorDestination]:
    """An empty one in the test's schema."""
    with closing(PgvectorDestination(schema, postgres_url)) as made:
        made.prepare(SchemaMapping())
        yield made


@pytest.fixture
def sql(postgres_url: str) -> Iterator[Postgres]:
    """A connection of the test's own."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def counted(status: Status) -> object:
    """Assets and features, where there are any."""
    tables = {each.modality: dict(each.collections) for each in status.tables if each.rows and not each.vector_name}
    return {name: count for name, count in status.assets.items() if count}, tables


def shown(store: Destination, names: Sequence[str], collection: str = "ads") -> dict[str, object]:
    """All that a destination says of these assets."""
    return {
        "known": {
            name: (
                known.fingerprint,
                known.modalities,
                {m: n for m, n in known.features.items() if n and m in known.modalities},
            )
            for name, known in store.known(collection, names).items()
        },
        "held": sorted(store.asset_ids(collection)),
        "collections": list(store.stored_collections()),
        "stored": [
            (one.asset_id, one.row_hash, [(f.feature_id, f.row_hash, dict(f.vector_hashes)) for f in one.features])
            for one in store.stored(collection, names)
        ],
        "digests": list(store.digests(collection)),
        "wrong": list(store.discrepancies(collection)),
        "quarantined": store.quarantined(collection),
    }


def changes(applied: Applied) -> object:
    """The counts that are not all zero."""
    features = {name: counts for name, counts in applied.features.items() if counts != Counts()}
    vectors = {name: counts for name, counts in applied.vectors.items() if counts != Counts()}
    return applied.assets, features, vectors


def test_it_is_one(store: Destination) -> None:
    assert Capability.TOMBSTONES in store.capabilities


def test_hidden_assets_count_as_deleted_and_are_in_no_answer(store: Destination) -> None:
    store.apply(batch(asset("a", feature("f1"), feature("i1", IMAGE)), asset("b", feature("f2"))))
    expected = MemoryDestination()
    expected.apply(batch(asset("b", feature("f2"))))
    hidden = store.tombstone("ads", ["a", "never there"])
    assert changes(hidden) == (Counts(deleted=1), {VIDEO: Counts(deleted=1), IMAGE: Counts(deleted=1)}, {})
    assert shown(store, ["a", "b"]) == shown(expected, ["a", "b"])
    assert counted(store.status()) == counted(expected.status())
    found = store.search(SearchQuery(VIDEO, "model-v1", dense(0.5)))
    assert [row["feature_id"] for row in found.rows] == ["f2"]
    assert changes(store.tombstone("ads", ["a"])) == (Counts(), {}, {})


def test_the_last_asset_takes_its_collection_along(store: Destination) -> None:
    store.apply(batch(asset("a", feature("f1"))))
    store.tombstone("ads", ["a"])
    assert list(store.stored_collections()) == []


def test_an_asset_that_comes_back_is_whole_again(store: Destination) -> None:
    whole = batch(asset("a", feature("f1", text="old"), feature("f2")))
    store.apply(whole)
    store.tombstone("ads", ["a"])
    back = store.apply(batch(asset("a", feature("f1", text="new"), feature("f2"))))
    told = (Counts(inserted=1), {VIDEO: Counts(inserted=2)}, {(VIDEO, "model-v1"): Counts(unchanged=2)})
    assert changes(back) == told
    expected = MemoryDestination()
    expected.apply(batch(asset("a", feature("f1", text="new"), feature("f2"))))
    assert shown(store, ["a"]) == shown(expected, ["a"])


def test_features_that_did_not_come_back_are_gone_for_good(store: Destination) -> None:
    store.apply(batch(asset("a", feature("f1"), feature("f2"))))
    store.tombstone("ads", ["a"])
    back = store.apply(batch(asset("a", feature("f2", extra=0.25))))
    vectors = {(VIDEO, "model-v1"): Counts(unchanged=1, deleted=1), (VIDEO, "extra"): Counts(inserted=1)}
    assert changes(back) == (Counts(inserted=1), {VIDEO: Counts(inserted=1)}, vectors)
    assert list(store.discrepancies("ads")) == []


def test_modalities_that_were_not_read_again_stay_hidden(store: Destination) -> None:
    both = asset("a", feature("f1"), feature("i1", IMAGE))
    store.apply(batch(both))
    store.tombstone("ads", ["a"])
    store.apply(batch(asset("a", feature("f1")), modalities=[VIDEO]))
    assert [one.feature_id for one in next(iter(store.stored("ads", ["a"]))).features] == ["f1"]
    assert list(store.discrepancies("ads")) == []
    assert store.known("ads", ["a"])["a"].modalities == {VIDEO}
    assert store.apply(batch(both)).features[IMAGE] == Counts(inserted=1)


def test_what_was_set_aside_is_forgotten_with_the_asset(store: Destination) -> None:
    aside = Rejected("a", Reason.NOT_FINITE, "NaN", "g", "video")
    store.apply(batch(asset("a", feature("f1"), rejected=[aside]), rejected=[Rejected("b", Reason.UNREADABLE, "500")]))
    store.tombstone("ads", ["a", "b"])
    assert (list(store.asset_ids("ads")), store.quarantined("ads")) == ([], 0)


def test_removing_what_is_hidden_removes_its_vectors(store: Destination) -> None:
    store.apply(batch(asset("a", feature("f1"))))
    store.tombstone("ads", ["a"])
    assert changes(store.remove("ads", ["a"])) == (Counts(), {}, {(VIDEO, "model-v1"): Counts(deleted=1)})
    assert store.apply(batch(asset("a", feature("f1")))).vectors[VIDEO, "model-v1"] == Counts(inserted=1)


NAMES = ("a", "b", "c")
FEATURES = st.builds(
    lambda name, modality, text, value: feature(name, modality, text, **({"more": value} if value else {})),
    st.sampled_from(["f1", "f2"]),
    st.sampled_from([VIDEO, IMAGE]),
    st.sampled_from(["", "said"]),
    st.sampled_from([0.0, 1.0, 2.0]),
)
ASSETS = st.builds(
    lambda name, features, fingerprint: asset(name, *features, fingerprint=fingerprint),
    st.sampled_from(NAMES),
    st.lists(FEATURES, max_size=3, unique_by=lambda one: (one.feature_id, one.modality)),
    st.sampled_from(["1", "2"]),
)


def _batch(assets: Sequence[Any], modalities: Sequence[Modality]) -> Batch:
    """Only with features of these modalities."""
    kept = [replace(one, features=tuple(f for f in one.features if f.modality in modalities)) for one in assets]
    return batch(*kept, modalities=modalities)


APPLY = st.builds(
    _batch,
    st.lists(ASSETS, min_size=1, max_size=3, unique_by=lambda one: one.asset_id),
    st.sampled_from([MODALITIES, (VIDEO,), (IMAGE,)]),
)
SOME = st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True)
STEP = st.one_of(
    APPLY, APPLY, st.tuples(st.just("tombstone"), SOME), st.tuples(st.just("tombstone"), SOME),
    st.tuples(st.just("remove"), SOME),
)  # fmt: skip


@pytest.mark.long
@settings(max_examples=examples(5), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(STEP, max_size=8))
def test_after_any_history_they_show_and_count_the_same(new_place: NewPlace, history: Sequence[Any]) -> None:
    model = MemoryDestination()
    with closing(new_place("pgvector")()) as store:
        store.prepare(SchemaMapping())
        for step in history:
            if isinstance(step, Batch):
                assert changes(store.apply(step)) == changes(model.apply(step))
            else:
                action, names = step
                assert changes(getattr(store, action)("ads", names)) == changes(getattr(model, action)("ads", names))
        assert shown(store, NAMES) == shown(model, NAMES)
        assert shown(store, NAMES)["wrong"] == []
        assert counted(store.status()) == counted(model.status())


def writes(sql: Postgres, schema: str) -> Mapping[str, int]:
    """Rows written per table so far, complete once the connections that wrote have ended."""
    wait_until(lambda: sql.execute(CONNECTED).fetchone() == (0,))
    return dict(sql.execute(WRITES, [schema]).fetchall())


def test_neither_hiding_nor_showing_writes_a_row_of_vectors(
    pgvector: PgvectorDestination, sql: Postgres, schema: str
) -> None:
    both = batch(asset("a", feature("f1"), feature("f2")), asset("b", feature("f3")))
    pgvector.apply(both)
    pgvector.build_indexes()
    pgvector.close()
    assert writes(sql, schema) == {"video": 3, "video__model_v1": 3}
    pgvector.prepare(SchemaMapping())
    pgvector.tombstone("ads", ["a"])
    when = sql.execute(f"SELECT DISTINCT deleted_at IS NULL FROM {schema}.video WHERE asset_id = 'a'").fetchall()
    assert when == [(False,)]
    pgvector.close()
    assert writes(sql, schema) == {"video": 5, "video__model_v1": 3}
    pgvector.prepare(SchemaMapping())
    pgvector.apply(both)
    pgvector.close()
    assert writes(sql, schema) == {"video": 7, "video__model_v1": 3}


def test_views_and_the_search_function_hide_them(pgvector: PgvectorDestination, sql: Postgres, schema: str) -> None:
    pgvector.apply(batch(asset("a", feature("f1")), asset("b", feature("f2"))))
    pgvector.build_indexes()
    pgvector.tombstone("ads", ["a"])
    assert sql.execute(f"SELECT feature_id FROM {schema}.video_model_v1").fetchall() == [("f2",)]
    answer = sql.execute(f"SELECT feature_id FROM {schema}.search_video_model_v1('[1,1,1,1,1,1,1,1]')").fetchall()
    assert answer == [("f2",)]
    (vectors,) = [each for each in pgvector.status().tables if each.vector_name]
    assert (vectors.rows, dict(vectors.collections)) == (1, {"ads": 1})


def test_what_was_hidden_by_hand_is_missed_and_comes_back(
    pgvector: PgvectorDestination, sql: Postgres, schema: str
) -> None:
    whole = batch(asset("a", feature("f1"), feature("f2")))
    pgvector.apply(whole)
    sql.execute(f"UPDATE {schema}.video SET deleted_at = now() WHERE feature_id = 'f1'")
    assert [(one.kind, one.feature_id) for one in pgvector.discrepancies("ads")] == [
        ("missing", "f1"),
        ("missing", "f1"),
    ]
    pgvector.apply(whole)
    assert list(pgvector.discrepancies("ads")) == []
