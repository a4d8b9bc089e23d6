"""Validation and mapping: what is loaded, what is set aside and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.connector.worlds import asset, feature
from tests.examples import examples
from vectorferry.connector._engine._mapper import MappedRecord, Mapper
from vectorferry.connector._model._rows import hash_row
from vectorferry.connector.plugin import (
    MODALITIES,
    Asset,
    ColumnMapping,
    Feature,
    MappedAsset,
    MappedFeature,
    Modality,
    ModalityMapping,
    Reason,
    Rejected,
    SchemaMapping,
    SparseVector,
    Vector,
)

ALL = frozenset(MODALITIES)


def load(
    item: Asset | Rejected, mapping: SchemaMapping | None = None, modalities: frozenset[Modality] = ALL
) -> MappedRecord:
    return Mapper(mapping or SchemaMapping(), modalities).map(item)


def loaded(item: Asset, mapping: SchemaMapping | None = None, modalities: frozenset[Modality] = ALL) -> MappedAsset:
    record = load(item, mapping, modalities).record
    assert isinstance(record, MappedAsset)
    return record


def one(described: Feature, mapping: SchemaMapping | None = None) -> MappedFeature:
    return loaded(asset("a", features=[described]), mapping).features[0]


def rejected(described: Feature, mapping: SchemaMapping | None = None) -> Rejected:
    record = loaded(asset("a", features=[described]), mapping)
    assert record.features == ()
    return record.rejected[0]


def one_without(described: Feature, mapping: SchemaMapping | None = None) -> tuple[MappedFeature, Rejected]:
    """What is loaded of a feature, and the one part of it that is set aside."""
    record = loaded(asset("a", features=[described]), mapping)
    assert len(record.features) == len(record.rejected) == 1
    return record.features[0], record.rejected[0]


def video(**columns: ColumnMapping) -> SchemaMapping:
    return SchemaMapping(video=ModalityMapping(columns=columns))


def dense(*numbers: float) -> Vector:
    return np.array(numbers, dtype=np.float32)


def test_mapped_fields_become_columns_and_the_rest_is_kept() -> None:
    mapping = video(author=ColumnMapping(path="metadata.author"), mood=ColumnMapping(path="moods.0", type="jsonb"))
    row = one(
        feature("s", start_time=1, metadata={"author": "Ann", "x": 1}, moods=[{"joy": 1}], unknown=[1, 2]), mapping
    )
    assert list(row.columns) == list(mapping.columns(Modality.VIDEO))
    assert row.columns["start_time"] == 1.0
    assert row.columns["author"] == "Ann"
    assert row.columns["mood"] == {"joy": 1}
    assert row.columns["end_time"] is None
    assert row.metadata == {"author": "Ann", "x": 1}
    assert row.extra == {"moods": [{"joy": 1}], "unknown": [1, 2]}


def test_a_column_may_come_from_the_asset() -> None:
    mapping = video(
        campaign=ColumnMapping(path="asset.metadata.campaign"),
        address=ColumnMapping(path="asset.url"),
        file=ColumnMapping(path="asset.system_metadata.filename"),
        made=ColumnMapping(path="asset.created_at", type="timestamptz"),
        own=ColumnMapping(path="metadata.campaign"),
        nothing=ColumnMapping(path="asset.metadata.nothing"),
        whole=ColumnMapping(path="asset", type="jsonb"),
    )
    made = datetime(2026, 3, 1, tzinfo=UTC)
    item = Asset(
        "a",
        "1",
        "video",
        url="https://media/1",
        created_at=made,
        metadata={"campaign": "spring"},
        fields={"system_metadata": {"filename": "a.mp4"}, "url": "another", "metadata": "not this"},
        features=(feature("s", metadata={"campaign": "own"}, asset={"x": 1}),),
    )
    record = Mapper(mapping, frozenset({Modality.VIDEO})).map(item).record
    assert isinstance(record, MappedAsset)
    columns = record.features[0].columns
    assert {name: columns[name] for name in ("campaign", "address", "file", "made", "own", "nothing")} == {
        "campaign": "spring",
        "address": "https://media/1",
        "file": "a.mp4",
        "made": made,
        "own": "own",
        "nothing": None,
    }
    assert columns["whole"] == {"x": 1}, "a field of the feature's own that is called so"


def test_metadata_that_is_not_an_object_is_kept_in_extra() -> None:
    row = one(feature("s", metadata="a text"))
    assert (row.metadata, row.extra) == ({}, {"metadata": "a text"})


def test_a_default_column_that_reads_from_elsewhere_leaves_its_old_field_in_extra() -> None:
    row = one(feature("s", text="old", title="new"), video(text=ColumnMapping(path="title")))
    assert row.columns["text"] == "new"
    assert row.extra == {"text": "old"}


def test_a_value_that_does_not_fit_is_set_aside_alone_and_says_where() -> None:
    mapping = video(year=ColumnMapping(path="metadata.year", type="integer"))
    part, record = one_without(feature("s", text="said", metadata={"year": "soon"}, vectors={"v": dense(1)}), mapping)
    assert (record.asset_id, record.feature_id, record.modality) == ("a", "s", "video")
    assert (record.reason, record.column, record.vector_name) == (Reason.BAD_VALUE, "year", "")
    assert record.detail == "column year: 'soon' does not fit integer (path metadata.year)"
    assert (part.columns["year"], part.columns["text"], set(part.vectors)) == (None, "said", {"v"})


def test_one_bad_feature_does_not_stop_its_neighbours() -> None:
    record = loaded(asset("a", features=[feature("bad", modality="smell"), feature("good")]))
    assert [f.feature_id for f in record.features] == ["good"]
    assert [(r.feature_id, r.reason) for r in record.rejected] == [("bad", Reason.UNKNOWN_MODALITY)]


@pytest.mark.parametrize("text", ["", "a\0b", "a\ud800", "x" * 513, "é" * 257])
def test_an_id_that_no_store_takes_is_set_aside_under_a_storable_name(text: str) -> None:
    record = load(Asset(text, "v1")).record
    assert isinstance(record, Rejected)
    assert (record.reason, record.feature_id) == (Reason.BAD_ID, "")
    part = rejected(feature(text))
    assert part.reason is Reason.BAD_ID
    assert part.feature_id
    for name in (record.asset_id, part.feature_id):
        assert "\0" not in name
        assert len(name.encode()) <= 512


def test_ids_that_are_long_but_legal_are_taken() -> None:
    assert one(feature("é" * 256)).feature_id == "é" * 256


@pytest.mark.parametrize("name", ["", "a\0", "x" * 256, "\udfff"])
def test_a_vector_under_a_name_that_no_store_takes_is_set_aside_alone(name: str) -> None:
    part, record = one_without(feature("s", vectors={"good": dense(2), name: dense(1)}))
    assert record.reason is Reason.BAD_NAME
    assert record.vector_name
    assert set(part.vectors) == {"good"}


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_set_aside_whatever_the_source_checked(number: float) -> None:
    sparse = SparseVector(np.array([3], dtype=np.int32), np.array([number], dtype=np.float32))
    for bad in (dense(1, number), sparse):
        part, record = one_without(feature("s", text="said", vectors={"v": bad, "w": dense(1)}))
        assert (record.reason, record.feature_id, record.vector_name) == (Reason.NOT_FINITE, "s", "v")
        assert (part.columns["text"], set(part.vectors)) == ("said", {"w"})


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros((2, 2), dtype=np.float32),
        np.zeros(0, dtype=np.float32),
        np.zeros(2, dtype=np.float64),
        [1.0, 2.0],
        SparseVector(np.array([1, 1], dtype=np.int32), np.ones(2, dtype=np.float32)),
        SparseVector(np.array([-1], dtype=np.int32), np.ones(1, dtype=np.float32)),
        SparseVector(np.array([1], dtype=np.int32), np.ones(2, dtype=np.float32)),
    ],
)
def test_something_that_is_not_a_vector_is_malformed(vector: Any) -> None:
    part, record = one_without(feature("s", vectors={"v": vector}))
    assert (record.reason, record.vector_name, dict(part.vectors)) == (Reason.MALFORMED, "v", {})


def test_a_strided_vector_arrives_contiguous() -> None:
    vector = one(feature("s", vectors={"v": np.arange(6, dtype=np.float32)[::2]})).vectors["v"]
    assert isinstance(vector, np.ndarray)
    assert vector.flags.c_contiguous
    assert vector.tolist() == [0, 2, 4]


def test_of_two_features_with_one_id_the_first_is_loaded() -> None:
    record = loaded(asset("a", features=[feature("s", text="first"), feature("s", modality="image", text="second")]))
    assert [f.columns["text"] for f in record.features] == ["first"]
    assert [(r.feature_id, r.reason) for r in record.rejected] == [("s", Reason.DUPLICATE_ID)]


def test_unwanted_modalities_are_left_out_with_their_rejects() -> None:
    bad = Rejected("a", Reason.NOT_FINITE, "by the source", "s9", "video")
    described = Asset("a", "v1", features=(feature("s\0"), feature("s"), feature("i", "image")), rejected=(bad,))
    record = loaded(described, modalities=frozenset({Modality.IMAGE}))
    assert [f.feature_id for f in record.features] == ["i"]
    assert record.rejected == ()
    assert {r.reason for r in loaded(described).rejected} == {Reason.NOT_FINITE, Reason.BAD_ID}


def test_nul_and_half_pairs_are_replaced_everywhere_and_counted() -> None:
    described = Asset(
        "a", "v1", url="u\0", metadata={"k\0": ["x\ud800"]}, features=(feature("s", text="a\0b", metadata={"\0": 1}),)
    )
    result = load(described)
    record = result.record
    assert isinstance(record, MappedAsset)
    assert (record.url, record.metadata) == ("u\ufffd", {"k\ufffd": ["x\ufffd"]})
    assert record.features[0].columns["text"] == "a\ufffdb"
    assert record.features[0].metadata == {"\ufffd": 1}
    assert result.replaced == 5


def test_text_that_only_looks_like_nul_is_kept() -> None:
    result = load(asset("a", features=[feature("s", text="\\u0000")]))
    assert isinstance(result.record, MappedAsset)
    assert result.record.features[0].columns["text"] == "\\u0000"
    assert result.replaced == 0


def test_fields_nested_beyond_reason_set_the_feature_aside() -> None:
    deep: Any = "x\0"
    for _ in range(5_000):
        deep = [deep]
    assert rejected(feature("s", deep=deep)).reason is Reason.MALFORMED
    record = load(Asset("a", "v1", metadata={"deep": deep})).record
    assert isinstance(record, Rejected)
    assert record.reason is Reason.MALFORMED


def test_fields_that_are_not_json_set_the_feature_aside() -> None:
    assert rejected(feature("s", handle=object())).reason is Reason.MALFORMED


def test_times_are_in_utc() -> None:
    record = loaded(Asset("a", "v1", created_at=datetime(2026, 1, 2)))
    assert record.created_at == datetime(2026, 1, 2, tzinfo=UTC)


def test_what_a_source_set_aside_is_made_storable() -> None:
    record = load(Rejected("a\0", Reason.UNREADABLE, "line\0" + "x" * 1000)).record
    assert isinstance(record, Rejected)
    assert record.reason is Reason.UNREADABLE
    assert len(record.detail) == 300
    assert "\0" not in record.asset_id + record.detail


@given(st.datetimes(timezones=st.sampled_from([None, UTC, ZoneInfo("Europe/Amsterdam"), timezone(timedelta(hours=3))])))
def test_a_time_in_a_row_is_hashed_as_it_is_spelled(moment: datetime) -> None:
    spelled = {"text": "ä", "at": moment.isoformat()}
    assert hash_row({"text": "ä", "at": moment}, {}, {}) == hash_row(spelled, {}, {})
    assert hash_row({"text": "\ud800", "at": moment}, {}, {}) == hash_row({**spelled, "text": "\ud800"}, {}, {})


def test_the_row_hash_covers_columns_metadata_and_extra_but_no_vector() -> None:
    base = one(feature("s", metadata={"a": 1, "b": 2}, other=1))
    same = one(feature("s", other=1, metadata={"b": 2, "a": 1}, vectors={"v": dense(9)}))
    assert base.row_hash == same.row_hash
    assert base.vector_hashes != same.vector_hashes
    changed = [
        feature("s", text="t"),
        feature("s", metadata={"a": 2}),
        feature("s", metadata={"a": 1, "b": 2}, other=2),
    ]
    assert len({base.row_hash, *(one(each).row_hash for each in changed)}) == 4
    assert len(base.row_hash) == 16


def test_weights_are_rows_and_bytes() -> None:
    empty = load(Asset("a", "v1"))
    assert (empty.rows, load(Rejected("a", Reason.UNREADABLE, "no")).rows) == (1, 1)
    one_more = load(asset("a", features=[feature("s", vectors={"v": np.zeros(1000, dtype=np.float32)})]))
    two_more = load(asset("a", features=[feature("s", text="x" * 1000), feature("t", "smell")]))
    assert (one_more.rows, two_more.rows) == (1, 2)
    assert empty.bytes + 4000 < one_more.bytes < empty.bytes + 5000
    assert empty.bytes + 1000 < two_more.bytes < empty.bytes + 2000


def test_features_are_in_the_order_of_their_ids() -> None:
    record = loaded(asset("a", features=[feature("b"), feature("a", "image"), feature("c")]))
    assert [f.feature_id for f in record.features] == ["a", "b", "c"]


def test_the_ledgers_fingerprint_follows_source_and_mapping() -> None:
    mapping = video(year=ColumnMapping(path="year", type="integer"))
    prints = {loaded(asset("a", v), m).fingerprint for v in (1, 2) for m in (SchemaMapping(), mapping)}
    assert len(prints) == 4
    assert loaded(asset("a")).fingerprint == loaded(asset("a")).fingerprint


hostile = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec=None)), inner, max_size=3),
    max_leaves=10,
)
texts = st.text(st.characters(codec=None), max_size=20)


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from texts_in([*value.keys(), *value.values()])
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)


@settings(max_examples=examples(30, 1000))
@given(
    features=st.lists(
        st.builds(
            Feature,
            texts,
            st.sampled_from(["video", "image", "", "ODOUR"]),
            st.dictionaries(texts | st.sampled_from(["text", "start_time", "metadata", "created_at"]), hostile),
            st.dictionaries(texts, st.lists(st.floats(width=32), max_size=3).map(lambda v: dense(*v)), max_size=2),
        ),
        max_size=5,
    ),
    asset_id=texts,
    metadata=st.dictionaries(texts, hostile, max_size=3),
)
def test_whatever_comes_is_loaded_or_set_aside_and_can_be_stored(
    features: list[Feature], asset_id: str, metadata: dict[str, Any]
) -> None:
    result = load(Asset(asset_id, "v", metadata=metadata, features=tuple(features)))
    records: list[MappedAsset | Rejected] = [result.record]
    if isinstance(result.record, MappedAsset):
        whole = [r for r in result.record.rejected if not r.vector_name and not r.column]
        assert len(result.record.features) + len(whole) == len(features)
        assert {r.feature_id for r in result.record.rejected if r not in whole} <= {
            f.feature_id for f in result.record.features
        }
        assert len({f.feature_id for f in result.record.features}) == len(result.record.features)
        for part in result.record.features:
            assert all(isinstance(v, np.ndarray) and np.isfinite(v).all() for v in part.vectors.values())
            for text in texts_in([part.feature_id, part.columns, part.metadata, part.extra]):
                assert "\0" not in text
                text.encode()
        records.extend(result.record.rejected)
    for record in records:
        if isinstance(record, Rejected):
            (record.asset_id + record.feature_id + record.detail + record.modality).encode()
            assert "\0" not in record.asset_id + record.feature_id + record.detail
            assert len(record.detail) <= 300
