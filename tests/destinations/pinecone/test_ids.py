"""Names that Pinecone takes, the same in every run, and never one name for two things."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorferry.connector.plugin import ConfigurationError, Metric
from vectorferry.destinations.pinecone._ids import (
    IndexSpec,
    PineconeMetric,
    check_template,
    index_name,
    index_prefix,
    namespace_name,
    owner_of,
    pinecone_metric,
    record_id,
)

# Few characters, so that escapes, separators and hashes are likely to meet; and any text at all, halves of pairs too.
SIMILAR = st.text("a1#%2305-", max_size=8)
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=30)
LONG_TEXT = st.builds(
    lambda text, times: text * times, st.sampled_from(["a", "#", "%", "ä", "a%"]), st.integers(0, 520)
)
TEXTS = SIMILAR | ANY_TEXT | LONG_TEXT
TEMPLATES = ["{collection}", "media-{collection}", "__{collection}__", "__default__{collection}", "#{collection}%"]
METRICS: list[PineconeMetric] = ["cosine", "euclidean", "dotproduct"]
DENSE = st.builds(IndexSpec, SIMILAR | ANY_TEXT, st.integers(1, 20_000), st.sampled_from(METRICS))
SPARSE = st.builds(IndexSpec, SIMILAR | ANY_TEXT, st.none(), st.just("dotproduct"))
PREFIXES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?", fullmatch=True)
SYNC_NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,47}", fullmatch=True) | st.text("a_0", min_size=1).map("a{:.47}".format)


def test_a_usual_record_id_is_read_at_a_glance() -> None:
    assert record_id("ast_4f2-b/9.mp4", "seg 12:00") == "ast_4f2-b/9.mp4#seg 12:00"


def test_what_is_special_in_a_record_id_is_percent_encoded() -> None:
    assert record_id("a#1 100%", "ü\n") == "a%231 100%25#%C3%BC%0A"


@given(TEXTS, TEXTS)
def test_any_record_id_is_one_that_pinecone_takes(asset_id: str, feature_id: str) -> None:
    assert re.fullmatch(r"[ -~]{1,512}", record_id(asset_id, feature_id))


@given(st.lists(st.tuples(TEXTS, TEXTS), unique=True, max_size=20))
def test_different_features_have_different_record_ids(pairs: list[tuple[str, str]]) -> None:
    assert len({record_id(*pair) for pair in pairs}) == len(pairs)


def test_ids_that_are_too_long_stay_apart_and_keep_what_can_be_read() -> None:
    first, second = (record_id("clip", f"{'ä' * 400}{end}") for end in "ab")
    assert first != second
    assert len(first) in range(510, 513)
    assert re.fullmatch(r"clip#(%C3%A4|%C3)+##[0-9a-f]{32}", first)


def test_a_record_id_that_just_fits_is_not_cut() -> None:
    assert record_id("a" * 256, "b" * 255) == f"{'a' * 256}#{'b' * 255}"
    assert record_id("a" * 256, "b" * 256) != f"{'a' * 256}#{'b' * 256}"


def test_no_id_can_be_chosen_to_meet_the_hash_of_another() -> None:
    long = record_id("a" * 300, "b" * 300)
    asset_id, _, feature_id = long.partition("#")
    assert record_id(asset_id, feature_id) != long


@given(TEXTS, TEXTS)
def test_a_record_knows_its_owner(asset_id: str, feature_id: str) -> None:
    metadata = {"asset_id": asset_id, "feature_id": feature_id}
    assert owner_of(record_id(asset_id, feature_id), metadata) == (asset_id, feature_id)
    assert owner_of(record_id(asset_id, feature_id + "x"), metadata) is None


@pytest.mark.parametrize(
    "metadata", [{}, {"asset_id": "a"}, {"feature_id": "f"}, {"asset_id": 1.0, "feature_id": "f"}, {"asset_id": ["a"]}]
)
def test_a_record_of_somebody_else_has_no_owner_here(metadata: dict[str, object]) -> None:
    assert owner_of("a#f", metadata) is None


def test_a_namespace_is_called_after_its_collection() -> None:
    assert namespace_name("media-{collection}", "col_4f2-b") == "media-col_4f2-b"


@given(st.sampled_from(TEMPLATES), st.lists(TEXTS, unique=True, max_size=20))
def test_different_collections_have_different_namespaces(template: str, collections: list[str]) -> None:
    check_template(template)
    names = [namespace_name(template, collection) for collection in collections]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[ -~]{1,512}", name) for name in names)


@pytest.mark.parametrize(
    ("template", "collection"), [("{collection}", "__default__"), ("__{collection}__", "default"), ("{collection}", "")]
)
def test_no_collection_ends_up_in_the_namespace_of_those_who_name_none(template: str, collection: str) -> None:
    assert namespace_name(template, collection) not in {"", "__default__"}
    assert namespace_name(template, collection) != namespace_name(template, f"{collection}_")


def test_the_namespace_of_a_long_collection_keeps_its_template() -> None:
    name = namespace_name("eu-{collection}-v2", "ä" * 300)
    assert len(name) in range(510, 513)
    assert re.fullmatch(r"eu-(%C3%A4|%C3)+##[0-9a-f]{32}-v2", name)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("media", "must contain {collection} exactly once"),
        ("{collection}/{collection}", "exactly once"),
        ("{colection}-{collection}", "the only thing in braces"),
        ("größe-{collection}", "printable ASCII"),
        ("a\n{collection}", "printable ASCII"),
        ("x" * 189 + "{collection}", "at most 200 characters"),
    ],
)
def test_a_template_that_cannot_work_is_refused(template: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        check_template(template)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (IndexSpec("multimodal-v1", 1408, "cosine"), "media-multimodal-v1-1408"),
        (IndexSpec("clip", 512, "euclidean"), "media-clip-512-euclidean"),
        (IndexSpec("clip", 512, "dotproduct"), "media-clip-512-dotproduct"),
        (IndexSpec("splade", None, "dotproduct"), "media-splade-sparse"),
    ],
)
def test_an_index_says_what_is_in_it(spec: IndexSpec, name: str) -> None:
    assert index_name("media", spec) == name


@pytest.mark.parametrize("vector_name", ["Multimodal_v1", "multimodal v1", "multimodal--v1", "multimodal-v1-"])
def test_a_vector_name_that_had_to_be_changed_is_told_from_the_one_it_became(vector_name: str) -> None:
    name = index_name("media", IndexSpec(vector_name, 1408, "cosine"))
    assert re.fullmatch(r"media-multimodal-v1-1408-[0-9a-f]{8}", name)
    assert index_name("media", IndexSpec(vector_name, 1408, "euclidean")) != name


def test_a_vector_name_without_a_usable_letter_still_makes_an_index() -> None:
    assert index_name("media", IndexSpec("日本語", None, "dotproduct")).startswith("media-vector-sparse-")


@given(PREFIXES, st.lists(DENSE | SPARSE, unique=True, max_size=20))
def test_different_indexes_have_different_names_that_pinecone_takes(prefix: str, specs: list[IndexSpec]) -> None:
    names = [index_name(prefix, spec) for spec in specs]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]{0,43}[a-z0-9]", name) for name in names)
    assert all(name.startswith(f"{prefix}-") for name in names)


@given(DENSE | SPARSE, st.sampled_from(METRICS))
def test_no_vector_name_can_be_chosen_to_meet_the_hash_of_another(hashed: IndexSpec, metric: PineconeMetric) -> None:
    name = index_name("m", hashed)
    specs = {hashed, IndexSpec(re.sub("^m-|-(sparse|[0-9]+)$", "", name), hashed.dimension, metric)}
    assert len({index_name("m", spec) for spec in specs}) == len(specs)


def test_indexes_are_listed_in_an_order_with_sparse_ones_too() -> None:
    dense, sparse = IndexSpec("a", 4, "cosine"), IndexSpec("a", None, "dotproduct")
    other = IndexSpec("b", 2, "cosine")
    assert sorted([other, dense, sparse]) == [sparse, dense, other]


def test_a_prefix_is_the_name_of_the_sync() -> None:
    assert index_prefix("product_media") == "product-media"


@given(st.lists(SYNC_NAMES, unique=True, max_size=20))
def test_different_syncs_have_different_prefixes_that_fit(names: list[str]) -> None:
    prefixes = [index_prefix(name) for name in names]
    assert len(set(prefixes)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?", prefix) for prefix in prefixes)


@given(SYNC_NAMES)
def test_no_sync_can_be_called_so_that_it_meets_the_hash_of_another(name: str) -> None:
    names = {name, index_prefix(name).replace("-", "_")}
    assert len({index_prefix(one) for one in names}) == len(names)


@pytest.mark.parametrize(
    ("metric", "expected"), [("cosine", "cosine"), ("l2", "euclidean"), ("inner_product", "dotproduct")]
)
def test_metrics_are_called_by_their_names_at_pinecone(metric: Metric, expected: str) -> None:
    assert pinecone_metric(metric) == expected


def test_a_metric_that_pinecone_lacks_says_what_to_set() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot compare vectors by l1.*set the vector's metric to cosine"):
        pinecone_metric("l1")
