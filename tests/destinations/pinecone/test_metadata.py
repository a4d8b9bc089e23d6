"""What of a feature is in the metadata of its records, and what becomes of metadata that is too large."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.builders import asset, feature
from tests.connector.sandbox.pinecone.serving import SdkIndex, world
from tests.examples import examples
from vectorferry.connector.plugin import MappedFeature, Modality, QuarantineError, Reason
from vectorferry.destinations.pinecone._ids import namespace_name, owner_of, record_id
from vectorferry.destinations.pinecone._metadata import MetadataOptions, keys_hash, metadata_hash, record_metadata

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
LIMIT = 40_000

SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8)
KEYS = st.text("ab.$~", max_size=4) | st.text(max_size=4)
OBJECTS = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=5,
)
TIMES = st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
LONG_TEXTS = st.builds(
    lambda text, times: text * times, st.text(min_size=1, max_size=4), st.sampled_from([1, 3_000, 30_000])
)
FEATURES = st.builds(
    lambda name, metadata, columns: feature(name, metadata=metadata, **columns),
    st.text(min_size=1, max_size=8),
    OBJECTS,
    st.fixed_dictionaries(
        {"json_output": st.none() | OBJECTS | st.lists(SCALARS, max_size=3), "created_at": TIMES},
        optional={"text": LONG_TEXTS, "transcription": LONG_TEXTS, "start_time": st.floats(0, 1e6)},
    ),
)


def sent(described: MappedFeature, **options: Any) -> dict[str, Any]:
    """The metadata of a feature of asset a1 in collection ads."""
    return dict(record_metadata("ads", asset("a1", described), described, MetadataOptions(**options)))


def beyond_identity(described: MappedFeature, **options: Any) -> dict[str, Any]:
    """The same without the four keys that every record has."""
    own = {"collection", "asset_id", "feature_id", "modality"}
    return {key: value for key, value in sent(described, **options).items() if key not in own}


def flat(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What becomes of a feature's metadata alone."""
    return beyond_identity(feature("f1", metadata=metadata))


def size(metadata: Mapping[str, Any]) -> int:
    return len(orjson.dumps(metadata))


def leaves(value: Any) -> int:
    """How many values there are that must not get lost."""
    if isinstance(value, Mapping):
        return sum(map(leaves, value.values()))
    return 0 if value is None else 2 if isinstance(value, datetime) else 1


def turned(value: Any) -> Any:
    """The same JSON value with the keys of its objects in the opposite order."""
    return {key: turned(value[key]) for key in reversed(value)} if isinstance(value, dict) else value


def test_a_feature_says_where_it_belongs_and_what_it_is() -> None:
    described = feature("f1", metadata={"author": {"name": "Ada"}}, text="A dog.", start_time=1.5)
    assert sent(described) == {
        "collection": "ads",
        "asset_id": "a1",
        "feature_id": "f1",
        "modality": "video",
        "text": "A dog.",
        "start_time": 1.5,
        "metadata.author.name": "Ada",
    }


def test_the_address_of_the_asset_is_sent_when_it_has_one() -> None:
    described = feature("f1")
    owner = replace(asset("a1", described), url="https://example.com/a.mp4")
    metadata = record_metadata("ads", owner, described, MetadataOptions())
    assert metadata["url"] == "https://example.com/a.mp4"
    assert "url" not in record_metadata("ads", owner, described, MetadataOptions(leave_out=("url",)))
    assert "url" not in sent(described)


def test_extra_fields_are_not_sent() -> None:
    described = replace(feature("f1"), extra={"internal": "x"})
    assert beyond_identity(described) == {}


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (["a", "b"], ["a", "b"]),
        ([], []),
        ([1, 2.5, True, None, "x"], ["1", "2.5", "true", "x"]),
        ([["a"], {"b": None}], '[["a"],{"b":null}]'),
        (True, True),
        (2**53, 2**53),
        (2**53 + 1, "9007199254740993"),
        (-(2**64), "-18446744073709551616"),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        ("", ""),
    ],
)
def test_each_value_becomes_one_that_pinecone_takes(value: Any, stored: Any) -> None:
    found = flat({"key": value})["metadata.key"]
    assert (found, type(found)) == (stored, type(stored))


@pytest.mark.parametrize("value", [None, {}, {"inner": {}}, {"inner": None}])
def test_nothing_is_sent_for_what_is_not_there(value: Any) -> None:
    assert flat({"key": value}) == {}


def test_a_time_is_text_to_read_and_a_number_to_filter_by() -> None:
    local = datetime(2026, 1, 1, 2, 0, 0, 500_000, tzinfo=timezone(timedelta(hours=2)))
    assert beyond_identity(feature("f1", created_at=local)) == {
        "created_at": "2026-01-01T00:00:00.500000+00:00",
        "created_at.epoch": 1767225600.5,
    }


def test_two_paths_that_give_the_same_key_are_both_sent() -> None:
    metadata = {"a.b": 1, "a": {"b": 2}, "a.b~2": 3}
    assert flat(metadata) == flat(turned(metadata))
    assert flat(metadata) == {"metadata.a.b": 2, "metadata.a.b~2": 1, "metadata.a.b~2~2": 3}


def test_a_column_called_like_a_key_of_vectorferrys_own_is_sent_beside_it() -> None:
    described = replace(feature("f1"), columns=dict.fromkeys(("modality", "url", "shortened"), "mine"))
    assert sent(described)["modality"] == "video"
    assert beyond_identity(described) == {"modality~2": "mine", "url~2": "mine", "shortened~2": "mine"}


def test_what_is_left_out_is_left_out_with_everything_below_it() -> None:
    described = feature(
        "f1", metadata={"raw": {"a": 1, "b": {"c": 2}}, "raw_size": 3}, created_at=NEW_YEAR, text="kept"
    )
    kept = beyond_identity(described, leave_out=("metadata.raw", "created_at"))
    assert kept == {"metadata.raw_size": 3, "text": "kept"}


def test_all_metadata_can_be_left_out_at_once() -> None:
    described = feature("f1", metadata={"a": 1, "b": {"c": 2}})
    assert beyond_identity(described, leave_out=("metadata",)) == {}


@pytest.mark.parametrize("option", ["shorten", "leave_out"])
@pytest.mark.parametrize("key", ["asset_id", "feature_id", "collection", "modality"])
def test_what_a_record_is_found_by_cannot_be_left_out_or_cut(option: str, key: str) -> None:
    with pytest.raises(ValidationError, match=f"{key}: always sent in full"):
        MetadataOptions.model_validate({option: ["text", key]})


def test_metadata_of_just_the_limit_stays_as_it_is() -> None:
    room = LIMIT - size(sent(feature("f1", text="")))
    whole = sent(feature("f1", text="x" * room))
    assert size(whole) == LIMIT
    assert "shortened" not in whole
    assert sent(feature("f1", text="x" * (room + 1)))["shortened"] == ["text"]


def test_the_longest_text_is_cut_just_enough_and_the_record_says_so() -> None:
    described = feature("f1", text="words " * 10_000, transcription="t" * 9_000, description="d", start_time=1.0)
    cut = sent(described)
    assert size(cut) in range(LIMIT - 80, LIMIT + 1)
    assert cut["shortened"] == ["text"]
    assert ("words " * 10_000).startswith(cut["text"])
    assert cut["transcription"] == "t" * 9_000


def test_no_byte_of_a_cut_text_is_given_away() -> None:
    assert size(sent(feature("f1", text="x" * 50_000))) == LIMIT


def test_several_long_texts_are_cut_to_the_same_length() -> None:
    cut = sent(feature("f1", text="a" * 50_000, transcription="b" * 30_000, description="c" * 1_000))
    assert cut["shortened"] == ["text", "transcription"]
    assert len(cut["text"]) == len(cut["transcription"]) > 19_000
    assert cut["description"] == "c" * 1_000
    second = sent(feature("f1", text="a" * 50_000, transcription=cut["transcription"], description="c" * 1_000))
    assert second["shortened"] == ["text"]


@pytest.mark.parametrize("character", ["é", "日", "🐕", '"', "\n", "\x01"])
def test_a_text_is_cut_between_two_characters(character: str) -> None:
    cut = sent(feature("f1", text="a" + character * 40_000))
    assert cut["text"] == "a" + character * (len(cut["text"]) - 1)
    assert size(cut) in range(LIMIT - 80, LIMIT + 1)


def test_which_texts_are_cut_can_be_chosen() -> None:
    described = feature("f1", text="t" * 1_000, metadata={"page": "p" * 50_000})
    assert sent(described, shorten=("metadata.page",))["shortened"] == ["metadata.page"]


def test_metadata_that_stays_too_large_names_the_largest_keys_and_what_to_set() -> None:
    described = feature("f1", text="t" * 30_000, metadata={"page": "p" * 50_000, "small": 1})
    with pytest.raises(QuarantineError) as caught:
        sent(described)
    assert caught.value.reason == Reason.TOO_LARGE
    assert "80,121 bytes and Pinecone takes 40,000" in str(caught.value)
    assert "largest are metadata.page (50,002), text (30,002):" in str(caught.value)
    assert "`metadata.shorten` or `metadata.leave_out`" in str(caught.value)
    assert sent(described, leave_out=("metadata.page",))["text"] == "t" * 30_000


def test_too_many_keys_are_refused_before_they_fill_the_memory() -> None:
    nested: Any = 1
    for _ in range(2_000):
        nested = {"k": nested, "leaf": 1}
    with pytest.raises(QuarantineError, match=r"keys of its metadata alone.*leave_out"):
        sent(replace(feature("f1"), columns={"json_output": nested}))


@given(FEATURES)
@settings(deadline=None, max_examples=examples(30, 1000))
def test_any_metadata_fits_when_its_texts_can_be_cut(described: MappedFeature) -> None:
    metadata = sent(described)
    assert size(metadata) <= LIMIT
    assert not any(key.startswith("$") for key in metadata)


@given(FEATURES)
@settings(deadline=None, max_examples=examples(30, 1000))
def test_no_value_is_lost_whatever_the_paths(described: MappedFeature) -> None:
    metadata = beyond_identity(described)
    metadata.pop("shortened", None)
    assert len(metadata) == leaves(described.columns) + leaves(described.metadata)


@given(FEATURES)
@settings(deadline=None, max_examples=examples(30, 1000))
def test_the_order_of_keys_at_the_source_changes_nothing(described: MappedFeature) -> None:
    other = replace(described, metadata=turned(described.metadata), columns=turned(described.columns))
    assert sent(other) == sent(described)


def test_a_number_is_the_same_in_either_form_and_is_no_boolean() -> None:
    assert metadata_hash({"n": 5, "m": 0}) == metadata_hash({"m": -0.0, "n": 5.0})
    different: list[dict[str, Any]] = [{"n": 1}, {"n": True}, {"n": "1"}, {"n": ["1"]}, {"m": 1}, {"n": 1, "m": 1}, {}]
    assert len({metadata_hash(one) for one in different}) == len(different)
    assert {len(metadata_hash(one)) for one in different} == {16}


def test_the_hash_of_the_keys_changes_with_the_keys_alone() -> None:
    assert keys_hash({"a": 1, "b": 2}) == keys_hash({"b": "x", "a": []})
    assert keys_hash({"a": 1, "b": 2}) != keys_hash({"a": 1})
    assert len(keys_hash({})) == 8


@pytest.fixture(scope="module")
def index() -> Iterator[SdkIndex]:
    with world() as opened:
        yield opened.index()


@given(
    st.text(max_size=8), st.lists(FEATURES, min_size=1, max_size=8, unique_by=lambda described: described.feature_id)
)
@settings(deadline=None, max_examples=examples(15), suppress_health_check=[HealthCheck.too_slow])
def test_pinecones_sdk_writes_any_of_it_and_reads_the_same_back(
    index: SdkIndex, collection: str, described: list[MappedFeature]
) -> None:
    namespace = namespace_name("{collection}", collection)
    records = {record_id("a1", one.feature_id): sent(one) for one in described}
    index.upsert(
        vectors=[{"id": name, "values": [1, 2, 3, 4], "metadata": metadata} for name, metadata in records.items()],
        namespace=namespace,
    )
    read = index.fetch(ids=list(records), namespace=namespace).vectors
    assert {owner_of(name, one.metadata) for name, one in read.items()} == {("a1", one.feature_id) for one in described}
    assert {name: metadata_hash(one.metadata) for name, one in read.items()} == {
        name: metadata_hash(metadata) for name, metadata in records.items()
    }


def test_queries_filter_by_time_by_list_and_by_dotted_key(index: SdkIndex) -> None:
    described = [
        feature("old", metadata={"tags": ["dog"]}, created_at=NEW_YEAR - timedelta(days=9)),
        feature("new", metadata={"tags": ["dog", "beach"]}, created_at=NEW_YEAR),
    ]
    index.upsert(
        vectors=[{"id": one.feature_id, "values": [1, 2, 3, 4], "metadata": sent(one)} for one in described],
        namespace="filtered",
    )

    def found(desired: Mapping[str, Any]) -> list[str]:
        answer = index.query(vector=[1, 2, 3, 4], top_k=10, namespace="filtered", filter=desired)
        return [match.id for match in answer.matches]

    assert found({"created_at.epoch": {"$gte": NEW_YEAR.timestamp()}}) == ["new"]
    assert found({"metadata.tags": {"$in": ["beach"]}}) == ["new"]
    assert sorted(found({"modality": Modality.VIDEO.value})) == ["new", "old"]
