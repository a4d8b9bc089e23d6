"""A manifest that was lost is made again from any records of ours, and from nobody else's."""

from __future__ import annotations

from typing import Any

import pytest

from tests.examples import family
from vectorferry.connector.plugin import SchemaMapping
from vectorferry.connector.sandbox import Sandbox

from ...builders import asset, batch, dense, feature, sparse
from .conftest import Open
from .store import INDEX, lose_manifest, put_records, stored_ids

INNER_PRODUCT = SchemaMapping.model_validate({"video": {"vectors": {"model-v1": {"metric": "inner_product"}}}})
HYBRID = {"model-v1": "words"}
ODD = ["é" * 250, "%#", "a b", "日本語", "\U0001f600", "x" * 512, "\x01", "\x7f"]


@pytest.mark.long
def test_names_of_any_length_and_alphabet_are_found_again(
    sandbox: Sandbox, open_pinecone: Open, postgres_url: str, schema: str
) -> None:
    collection = "日本 語/%#"
    every = batch(*(asset(name, feature(name), feature("y" * 512)) for name in ODD), collection=collection)
    open_pinecone().apply(every)
    lose_manifest(postgres_url, schema)
    again = open_pinecone()
    assert [*again.stored_collections()] == [collection]
    assert {*again.asset_ids(collection)} == {*ODD}
    again.apply(every)
    assert again.delivered().requests == 0
    again.remove(collection, ODD)
    assert [*sandbox.pinecone.namespaces(INDEX).values()] in ([], [0])


def test_dense_sparse_and_hybrid_records_are_known_by_their_vectors(
    sandbox: Sandbox, open_pinecone: Open, postgres_url: str, schema: str
) -> None:
    every = batch(
        asset("both", feature("f1", {"model-v1": dense(1), "words": sparse({1: 0.5, 2**31 - 1: -2})})),
        asset("dense", feature("f1", {"model-v1": dense(-0.0)})),
        asset("sparse", feature("f1", {"words": sparse({0: 1e-40, 7: 3e38})})),
    )
    open_pinecone(INNER_PRODUCT, hybrid=HYBRID).apply(every)
    assert stored_ids(sandbox, "media-model-v1-8-dotproduct") == {"both#f1", "dense#f1"}
    assert stored_ids(sandbox, "media-words-sparse") == {"sparse#f1"}
    lose_manifest(postgres_url, schema)
    again = open_pinecone(INNER_PRODUCT, hybrid=HYBRID)
    again.apply(every)
    assert again.delivered().requests == 0


def record(identifier: str, **metadata: object) -> dict[str, Any]:
    return {"id": identifier, "values": [1.0] * 8, "metadata": metadata}


@pytest.mark.parametrize("namespace", family(["ads", "", "others"]))
@pytest.mark.long
def test_records_of_somebody_else_are_left_alone(
    sandbox: Sandbox, open_pinecone: Open, postgres_url: str, schema: str, namespace: str
) -> None:
    open_pinecone().apply(batch(asset("a", feature("f1"))))
    foreign: list[dict[str, Any]] = [
        {"id": "x", "values": [1.0] * 8},
        record("b#f1", asset_id="c", feature_id="f1", collection="ads", modality="video"),
        record("d#f1", asset_id="d", feature_id="f1", collection="films", modality="video"),
        record("e#f1", asset_id="e", feature_id="f1", collection="ads", modality="hologram"),
        record("g#f1", asset_id="g", feature_id="f1", collection=["ads"], modality=["video"]),
        record("h" * 505 + "#f1", asset_id="h" * 505, feature_id="f1", collection="ads" * 600, modality="video"),
    ]
    put_records(sandbox, foreign, namespace)
    lose_manifest(postgres_url, schema)
    again = open_pinecone()
    assert [*again.asset_ids("ads")] == ["a"]
    again.remove("ads", ["a"])
    assert len(stored_ids(sandbox, INDEX, namespace)) == len(foreign)
