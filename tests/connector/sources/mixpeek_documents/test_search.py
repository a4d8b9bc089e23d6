"""Searching among Mixpeek's documents: under one index, by retrievers, and what is near a stored vector."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from tests.connector.http.serving import serving
from tests.connector.sources.mixpeek.worlds import Answers
from tests.connector.sources.mixpeek_documents.worlds import COLLECTION, QUICK, VECTOR, pulled, reading
from vectorferry.connector.http import NotFoundError, UnreadableError
from vectorferry.connector.plugin import (
    Asset,
    ConfigurationError,
    Hit,
    Modality,
    Probe,
    RetrieverQuery,
    SourceQuery,
    SparseVector,
)
from vectorferry.connector.sandbox import Sandbox, SandboxSettings
from vectorferry.connector.sources.mixpeek_documents import MixpeekDocumentsSettings, MixpeekDocumentsSource

STAGE = {
    "stage_name": "near",
    "stage_type": "filter",
    "config": {
        "stage_id": "feature_search",
        "parameters": {
            "final_top_k": 5,
            "searches": [
                {"feature_uri": VECTOR, "query": {"input_mode": "vector", "value": "{{INPUT.qv}}"}, "top_k": 5}
            ],
        },
    },
}


async def test_words_find_documents_with_the_asset_that_they_are_of() -> None:
    async with reading(SandboxSettings(), namespace="media") as (source, sandbox):
        query = SourceQuery(
            "dog jumping", 4, ["multimodal_extractor_v1_multimodal_embedding"], {"metadata.hello": "world"}
        )
        hits = await source.search("col_quickstart", query)
        assert [hit.rank for hit in hits] == [1, 2, 3, 4]
        assert "dog leaping" in hits[0].text
        assert (hits[0].start, hits[0].end, hits[0].collection) == (50.0, 60.0, "col_quickstart")
        assert hits[0].feature_id in sandbox.documents.document_ids(hits[0].asset_id)
        by_uri = ["mixpeek://multimodal_extractor@v1/vertex_multimodal_embedding"]
        assert (await source.search("col_quickstart", SourceQuery("dog jumping", 4, by_uri)))[0] == hits[0]
        assert not await source.search("col_quickstart", SourceQuery("dog", 4, by_uri, {"metadata.hello": ["you"]}))


async def test_one_of_several_indexes_has_to_be_named() -> None:
    async with reading(SandboxSettings(), namespace="media") as (source, _):
        with pytest.raises(ConfigurationError, match=r"with one --option which vectors.*multimodal_extractor_v1_trans"):
            await source.search("col_quickstart", SourceQuery("dog"))
        with pytest.raises(ConfigurationError, match="which vectors are searched"):
            await source.search("col_quickstart", SourceQuery("dog", options=["nothing"]))


async def test_brought_vectors_are_not_searched_by_words_but_by_a_vector() -> None:
    async with reading() as (source, sandbox):
        assets = await pulled(source)
        asset = next(iter(assets.values()))
        assert isinstance(asset, Asset)
        (feature,) = asset.features
        probe = Probe(feature.feature_id, Modality.TEXT, VECTOR, feature.vectors[VECTOR])
        near = await source.neighbours(COLLECTION, probe, limit=3)
        assert near is not None
        assert near.vector is probe.vector
        assert (len(near.feature_ids), near.feature_ids[0]) == (3, feature.feature_id)
        sparse = SparseVector(np.array([1], np.int32), np.array([1], np.float32))
        assert await source.neighbours(COLLECTION, Probe("d", Modality.TEXT, VECTOR, sparse), limit=3) is None
        assert sandbox.requests.counts()["documents.features.search"] == 1
        with pytest.raises(Exception, match="promote the namespace"):
            await source.search(COLLECTION, SourceQuery("dog"))


async def test_a_rare_modality_is_looked_for_further_away() -> None:
    near = [{"document_id": f"v{number}", "_internal": {"modality": "video"}} for number in range(1_000)]
    rare = [{"document_id": f"t{number}", "_internal": {"modality": "pdf"}} for number in range(2)]
    probe = Probe("t0", Modality.TEXT, "v1", np.ones(2, np.float32))

    def neighbours(source: MixpeekDocumentsSource) -> Any:
        return source.neighbours("c", probe, limit=2)

    answers = [{"results": near[:8]}, {"results": [*near[:900], *rare]}]
    found, body = await asked("/v1/features/search", answers, neighbours)
    assert (found.feature_ids, body["top_k"], "filters" in body) == (["t0", "t1"], 1_000, False)
    answers = [{"results": near[:8]}, {"results": near}, {"results": rare}]
    found, body = await asked("/v1/features/search", answers, neighbours)
    (condition,) = body["filters"]["AND"]
    assert (found.feature_ids, body["top_k"], condition["field"]) == (["t0", "t1"], 2, "_internal.modality")
    assert {"text", "pdf"} <= set(condition["value"])
    assert body["query"] == {"input_mode": "vector", "vector": [1.0, 1.0]}


async def test_a_retriever_is_asked_by_name_by_id_or_made_for_this_once() -> None:
    async with reading() as (source, sandbox):
        made = await _create(sandbox)
        first = next(iter((await pulled(source)).values()))
        assert isinstance(first, Asset)
        vector = first.features[0].vectors[VECTOR]
        assert isinstance(vector, np.ndarray)
        inputs = {"qv": vector.tolist()}
        query = RetrieverQuery(made, inputs=inputs, limit=3)
        hits = await source.retrieve(COLLECTION, query)
        assert (len(hits), hits[0].feature_id, hits[0].collection) == (3, first.features[0].feature_id, COLLECTION)
        for other in (RetrieverQuery("by-vector", inputs=inputs, limit=3), RetrieverQuery("", [STAGE], {}, inputs, 3)):
            assert await source.retrieve(COLLECTION, other) == hits
        with pytest.raises(NotFoundError, match="'nobody' not found"):
            await source.retrieve(COLLECTION, RetrieverQuery("nobody"))
        with pytest.raises(ConfigurationError, match="500 documents at most"):
            await source.retrieve(COLLECTION, RetrieverQuery(made, limit=501))


async def _create(sandbox: Sandbox) -> str:
    headers = {"Authorization": f"Bearer {sandbox.api_key}", "X-Namespace": "generated"}
    body = {"retriever_name": "by-vector", "stages": [STAGE], "input_schema": {"qv": {"type": "array"}}}
    async with httpx.AsyncClient(base_url=sandbox.documents_url, headers=headers) as client:
        return str((await client.post("/v1/retrievers", json=body)).json()["retriever_id"])


async def asked(path: str, answer: Any, ask: Any) -> tuple[Any, Any]:
    """What a source makes of an answer, and the body that it sent for it."""
    index = {"name": "v", "index": {"name": "v1", "dimensions": 2}, "feature_uri": "mixpeek://e@v1/v"}
    collection = {"collection_id": "c", "vector_indexes": [index]}
    async with serving(Answers({"/v1/collections/c": collection, path: answer}).handle) as server:
        settings = MixpeekDocumentsSettings.model_validate(
            {"base_url": server.url, "api_key": "sk", "namespace": "n", "retry": QUICK}
        )
        async with aclosing(settings.open()) as source:
            given = await ask(source)
        return given, [orjson.loads(seen.body) for seen in server.seen if seen.path == path][-1]


async def test_the_bodies_are_those_that_the_schemas_declare() -> None:
    def search(source: MixpeekDocumentsSource) -> Any:
        return source.search("c", SourceQuery("a dog", 3, filters={"brand": "Acme", "gone": None, "OR": []}))

    _, body = await asked("/v1/features/search", {"documents": []}, search)
    conditions = [
        {"field": "brand", "operator": "eq", "value": "Acme"},
        {"field": "gone", "operator": "is_null", "value": True},
    ]
    assert body == {
        "collection_identifiers": ["c"],
        "query": {"input_mode": "text", "text": "a dog"},
        "feature_uri": "mixpeek://e@v1/v",
        "top_k": 3,
        "filters": {"OR": [], "AND": conditions},
    }

    def adhoc(source: MixpeekDocumentsSource) -> Any:
        return source.retrieve("c", RetrieverQuery("", [STAGE], {"qv": {"type": "array"}}, {"qv": [1]}, 7))

    _, body = await asked("/v1/retrievers/execute", {"documents": []}, adhoc)
    schema = {"qv": {"type": "array"}}
    assert body == {
        "collection_identifiers": ["c"],
        "stages": [STAGE],
        "input_schema": schema,
        "inputs": {"qv": [1]},
        "limit": 7,
    }


async def test_rows_are_read_whatever_they_lack() -> None:
    rows = [
        {"document_id": "d1", "collection_id": "o", "text": "b\n c", "score": 0.5, "start_time": -1},
        {"document_id": "d2", "_internal": {"lineage": {"root_object_id": "obj"}}, "collection_id": 7},
        {"document_id": ""},
        "nonsense",
    ]
    hits, _ = await asked(
        "/v1/retrievers/r1/execute", {"results": rows}, lambda source: source.retrieve("c", RetrieverQuery("r1"))
    )
    assert hits == [Hit("d1", 1, None, None, "b c", "d1", 0.5, "o"), Hit("obj", 2, feature_id="d2")]
    with pytest.raises(UnreadableError, match="no list of documents"):
        await asked("/v1/features/search", {}, lambda source: source.search("c", SourceQuery("x")))
