"""Sparse vectors: in the record of a dense one, or in an index of their own."""

from __future__ import annotations

import pytest

from vectorferry.connector.plugin import ConfigurationError, Modality, Reason, SchemaMapping, SearchQuery
from vectorferry.connector.sandbox import Sandbox

from ...builders import asset, batch, dense, feature, sparse
from ...waiting import PATIENCE
from .conftest import Open

MAPPING = SchemaMapping.model_validate({"video": {"vectors": {"model-v1": {"metric": "inner_product"}}}})
TOGETHER = "media-model-v1-8-dotproduct"
APART = "media-words-sparse"
BOTH = feature("f1", {"model-v1": dense(1), "words": sparse({1: 0.5, 2**31 - 1: 2})})
HYBRID = {"model-v1": "words"}


def test_a_changed_sparse_vector_changes_the_record_that_it_is_in(sandbox: Sandbox, open_pinecone: Open) -> None:
    destination = open_pinecone(MAPPING, hybrid=HYBRID)
    destination.apply(batch(asset("a", BOTH)))
    (record,) = sandbox.pinecone.records(TOGETHER, "ads").values()
    assert record["sparse"] == {1: 0.5, 2**31 - 1: 2}
    changed = feature("f1", {"model-v1": dense(1), "words": sparse({1: 0.25})})
    destination.apply(batch(asset("a", changed, fingerprint="2")))
    (record,) = sandbox.pinecone.records(TOGETHER, "ads").values()
    assert (record["values"][0], record["sparse"]) == (1, {1: 0.25})
    assert sandbox.pinecone.indexes() == [TOGETHER]
    found = destination.search(SearchQuery(Modality.VIDEO, vector=dense(1)))
    assert [row["feature_id"] for row in found.rows] == ["f1"]


@pytest.mark.long
def test_records_are_taken_apart_and_joined_as_the_configuration_changes(sandbox: Sandbox, open_pinecone: Open) -> None:
    open_pinecone(MAPPING, hybrid=HYBRID).apply(batch(asset("a", BOTH)))
    apart = open_pinecone(MAPPING)
    assert apart.known("ads", ["a"]) == {}
    apart.apply(batch(asset("a", BOTH)))
    assert sandbox.pinecone.records(TOGETHER, "ads")["a#f1"]["sparse"] is None
    assert sandbox.pinecone.records(APART, "ads").keys() == {"a#f1"}
    found = apart.search(SearchQuery(Modality.VIDEO, vector=sparse({1: 2.0})))
    assert [(row["feature_id"], row["score"]) for row in found.rows] == [("f1", 1.0)]

    joined = open_pinecone(MAPPING, hybrid=HYBRID)
    joined.apply(batch(asset("a", BOTH)))
    assert sandbox.pinecone.records(TOGETHER, "ads")["a#f1"]["sparse"] == {1: 0.5, 2**31 - 1: 2}
    assert sandbox.pinecone.records(APART, "ads") == {}


def test_a_hybrid_that_no_metric_allows_is_refused_before_anything_is_written(open_pinecone: Open) -> None:
    with pytest.raises(ConfigurationError, match="need the metric inner_product"):
        open_pinecone(hybrid=HYBRID)


def test_an_empty_sparse_vector_is_set_aside_and_an_index_of_sparse_ones_can_be_waited_for(
    open_pinecone: Open,
) -> None:
    destination = open_pinecone()
    words = [feature("f1", {"words": sparse({5: 1})}), feature("f2", {"words": sparse({})})]
    applied = destination.apply(batch(asset("a", *words)))
    told = [(one.feature_id, one.vector_name, one.reason) for one in applied.rejected]
    assert told == [("f2", "words", Reason.ZERO_VECTOR)]
    assert [one.is_visible for one in destination.delivered(wait=PATIENCE).places] == [True]
