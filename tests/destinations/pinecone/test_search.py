"""Questions of every shape: an answer, or an error that says what is wrong with the question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from vectorferry.connector.plugin import (
    ConfigurationError,
    Modality,
    ModalityMapping,
    SchemaMapping,
    SearchQuery,
    VectorferryError,
    VectorMapping,
)
from vectorferry.destinations import PineconeDestination

from ...builders import asset, batch, dense, feature
from .conftest import Open


@pytest.fixture
def filled(open_pinecone: Open) -> PineconeDestination:
    """One feature in each of two collections."""
    destination = open_pinecone()
    metadata = {"author": {"name": "ada"}, "large": 2**70}
    for collection in ("ads", "films"):
        one = feature("f1", start_time=1.0, metadata=metadata)
        destination.apply(batch(asset(f"of {collection}", one), collection=collection))
    return destination


FOUND: list[tuple[Mapping[str, Any], int]] = [
    ({"collection": "ads"}, 1),
    ({"collection": "nowhere"}, 0),
    ({"collection": ["ads", "films"]}, 2),
    ({"collection": {"in": ["ads"]}}, 1),
    ({"collection": {"ne": "ads"}}, 1),
    ({"asset_id": ["of ads", "nobody"]}, 1),
    ({"nothing": {}}, 2),
    ({"start_time": {"gte": 0, "lt": 5}}, 2),
    ({"start_time": 1}, 2),
    ({"modality": "text"}, 0),
    ({"metadata": {"author": {"name": "ada"}}}, 2),
    ({"metadata": {"author": {"born": {"exists": True}}}}, 0),
    ({"metadata": {"large": 2**70}}, 2),
    ({"metadata": {"large": {"in": [2**70, 1]}}}, 2),
]


def test_filters_find_what_they_say(filled: PineconeDestination) -> None:
    def rows(filters: Mapping[str, Any]) -> int:
        return len(filled.search(SearchQuery(Modality.VIDEO, vector=dense(1), filters=filters)).rows)

    assert [(filters, rows(filters)) for filters, _ in FOUND] == FOUND


def test_a_filter_that_cannot_be_asked_is_an_error_of_ours(filled: PineconeDestination) -> None:
    for filters in ({"a": {"in": 3}}, {"a": [[1]]}, {"a": None}, {"$a": 1}, {"a": "\udcff"}, {"a": {"lt": "x"}}):
        with pytest.raises(VectorferryError):
            filled.search(SearchQuery(Modality.VIDEO, vector=dense(1), filters=filters))


def test_a_feature_that_no_store_could_hold_is_not_found(filled: PineconeDestination) -> None:
    for like in ("\udcff", "\x00", "x" * 10_000, ""):
        with pytest.raises(ConfigurationError, match="no video feature"):
            filled.search(SearchQuery(Modality.VIDEO, like=like))


def test_a_feature_of_another_modality_says_how_to_ask_for_it(filled: PineconeDestination) -> None:
    with pytest.raises(ConfigurationError, match=r"no text feature f1 .* in Pinecone; ask with --modality video$"):
        filled.search(SearchQuery(Modality.TEXT, like="f1"))


def test_a_limit_is_within_what_the_store_answers(filled: PineconeDestination) -> None:
    assert len(filled.search(SearchQuery(Modality.VIDEO, like="f1", limit=9_999)).rows) == 1
    for limit in (0, 10_000):
        with pytest.raises(ConfigurationError, match="ask for 1 to 9,999 rows"):
            filled.search(SearchQuery(Modality.VIDEO, like="f1", limit=limit))


def test_where_modalities_differ_in_their_metric_each_asks_its_own_index(open_pinecone: Open) -> None:
    mapping = SchemaMapping(video=ModalityMapping(vectors={"model-v1": VectorMapping(metric="l2")}))
    destination = open_pinecone(mapping)
    destination.apply(batch(asset("a", feature("f1"), feature("f2", modality=Modality.TEXT))))
    for modality, index in ((Modality.VIDEO, "media-model-v1-8-euclidean"), (Modality.TEXT, "media-model-v1-8")):
        answer = destination.search(SearchQuery(modality, vector=dense(1)))
        assert f'"{index}"' in answer.statement
        assert len(answer.rows) == 1
