"""Mixpeek's own SDK, 1.3.783, reads what the sandbox serves, and brings what is then synced.

Its models check types, required keys and enumerations. They take any pagination, and keep what they do not know.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import SecretStr

from tests.referees.environments import referee_answers, referee_python, referee_reading
from vectorferry.connector._config._load import load_part
from vectorferry.connector.http import ApiClient
from vectorferry.connector.plugin import RetrieverQuery, SourceQuery, SubmitOptions
from vectorferry.connector.sandbox import Sandbox, running_sandbox
from vectorferry.connector.sources.mixpeek_documents import MixpeekDocumentsSettings
from vectorferry.connector.sources.mixpeek_documents._submit_settings import MixpeekDocumentsSubmitSettings
from vectorferry.connector.testing import MemoryDestination, sync

pytestmark = [pytest.mark.referee, pytest.mark.timeout(600)]

VERSION = "1.3.783"
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
DENSE = {
    "multimodal_extractor_v1_multimodal_embedding": 1408,
    "multimodal_extractor_v1_transcription_embedding": 1024,
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox() as running:
        yield running


@pytest.fixture(scope="module")
def answers(sandbox: Sandbox) -> Any:
    return referee_answers(referee_python("mixpeek", VERSION), "ask_mixpeek_1_3_783.py", sandbox)


def settings_for(sandbox: Sandbox, namespace: str) -> MixpeekDocumentsSettings:
    key = SecretStr(sandbox.api_key)
    return MixpeekDocumentsSettings(base_url=sandbox.documents_url, api_key=key, namespace=namespace)


async def synced(settings: MixpeekDocumentsSettings, store: MemoryDestination) -> int:
    source = settings.open()
    summary = await sync(source, [store], name="m")
    await source.aclose()
    return summary.exit_code


def test_namespaces_and_collections(answers: Any) -> None:
    assert answers["namespaces"][:2] == [
        ["ns_media", "media", "managed"],
        ["my-vectors", "my-vectors", "standalone"],
    ]
    assert [row[:2] for row in answers["collections"]] == [
        [f"col_{name}", name] for name in ("quickstart", "product-shots", "lectures", "example")
    ]
    assert all(count > 0 for _, _, count, _ in answers["collections"])
    assert {stored: dimensions for _, _, stored, dimensions in answers["indexes"] if dimensions} == DENSE
    assert set(answers["features"]) > DENSE.keys()


def test_a_page_with_vectors_and_totals(answers: Any, sandbox: Sandbox) -> None:
    page = answers["page"]
    total = len(sandbox.documents.document_ids()) and answers["count"]
    assert page["totals"] == [total, total]
    assert page["complete"] == [False] * 3
    assert all(DENSE.keys() <= {*row} for row in page["rows"])
    assert all(text.endswith("Z") for text in page["updated"])
    assert all(name.startswith("obj_") for name in page["objects"])


def test_partitions_hold_every_document_once(answers: Any) -> None:
    assert answers["parts"] == answers["whole"]
    assert len(set(answers["parts"])) == answers["count"]


def test_documents_one_by_one_and_in_batches(answers: Any) -> None:
    assert answers["document"] == DENSE
    assert answers["named"] == {name: size for name, size in DENSE.items() if "transcription" in name}
    assert answers["batch"][1] == ["nope"]
    assert answers["multi"] == {"text-embedding": 1024, "splade": ["indices", "values"], "colbert": [3, 8]}


def test_the_change_feed_can_be_taken_up_where_it_was_left(answers: Any) -> None:
    feed = answers["events"]
    assert feed["more"]
    assert feed["kinds"] == ["collection.documents.batch_completed"] * 4
    assert feed["end"] == [[], True]


def test_errors_and_warnings_are_typed(answers: Any) -> None:
    (warning,) = answers["wrong_namespace"]
    assert (warning["resource"], warning["reason"]) == ("namespace", "unresolved")
    assert answers["wrong_key"][0] == "UnauthorizedException"
    assert answers["unknown"][0] == "NotFoundException"
    assert "type='NotFoundError'" in answers["unknown"][1]


def test_the_guide_of_brought_vectors(answers: Any) -> None:
    assert answers["guide"] == {
        "created": ["standalone", [{"name": "text_8", "dimension": 8, "metric": "cosine"}]],
        "inserted": 1_000,
        "token": True,
        "found": [f"doc-{number}" for number in range(5)],
        "short": "doc-7",
        "promoted": ["standalone", "managed"],
        "listed": 0,
    }


def test_what_the_guide_has_brought_is_synced(answers: Any, sandbox: Sandbox) -> None:
    assert answers["guide"]["inserted"] == 1_000
    store = MemoryDestination()
    assert asyncio.run(synced(settings_for(sandbox, "guide-vectors"), store)) == 0
    assert store.assets.keys() == {"_direct_upsert"}
    assets = store.assets["_direct_upsert"]
    assert len(assets) == 1_000
    (feature,) = assets["doc-7"].features
    expected = np.array([0.117, 0.327, -0.373, -0.403, 0.013, 0.347, -0.393, -0.513], np.float32)
    vector = feature.vectors["text_8"]
    assert isinstance(vector, np.ndarray)
    assert np.allclose(vector, expected)
    assert (feature.extra["body"], feature.extra["category"]) == ("text 7", "docs")


def test_what_our_source_asks_and_is_answered_passes_through_the_models(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every body that a sync sends holds declared keys only; every page that it gets is the declared model."""
    bodies: dict[str, Any] = {}
    request = ApiClient.request

    async def noted(self: ApiClient, method: str, path: str, **more: Any) -> Any:
        if more.get("json") is not None:
            bodies[json.dumps([path, sorted(more["json"])])] = (path, more["json"])
        return await request(self, method, path, **more)

    monkeypatch.setattr(ApiClient, "request", noted)
    asyncio.run(synced(settings_for(sandbox, "media").model_copy(update={"page_size": 10}), MemoryDestination()))
    assert len(bodies) > 3
    checked: list[tuple[str, Any]] = []
    headers = {"Authorization": f"Bearer {sandbox.api_key}", "X-Namespace": "media"}
    with httpx.Client(base_url=sandbox.documents_url, headers=headers) as client:
        for path, body in bodies.values():
            kind = "Collections" if path.startswith("/v1/collections/list") else "Documents"
            answer = client.post(path, json=body)
            assert answer.status_code == 200
            checked += [(f"List{kind}Request", body), (f"List{kind}Response", answer.json())]
    for (name, value), kept in zip(checked, kept_by_models(checked), strict=True):
        if name.endswith("Request"):
            assert {*value} <= {*kept}, name


def kept_by_models(values: list[tuple[str, Any]]) -> Any:
    """What the SDK's models of these names make of values."""
    return referee_reading(referee_python("mixpeek", VERSION), "check_mixpeek_models.py", values)


REQUESTS = {
    "/v1/features/search": "FeatureSearchRequest",
    "/v1/retrievers/execute": "AdhocExecuteRequest",
    "/v1/retrievers/near/execute": "ExecuteRetrieverRequest",
    "/v1/buckets/bkt_sandbox/objects": "CreateObjectRequest",
    "/v1/collections/col_lectures/trigger": "TriggerCollectionRequest",
}
SEARCH = {
    "feature_uri": "multimodal_extractor_v1_multimodal_embedding",
    "query": {"input_mode": "text", "value": "{{INPUT.words}}"},
    "top_k": 5,
}
STAGE = {
    "stage_name": "near",
    "stage_type": "filter",
    "config": {"stage_id": "feature_search", "parameters": {"searches": [SEARCH]}},
}


def test_what_is_submitted_and_searched_is_what_the_models_declare(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The models drop what they do not know, on every level, but for objects, which keep it."""
    bodies: dict[str, Any] = {}
    request = ApiClient.request

    async def noted(self: ApiClient, method: str, path: str, **more: Any) -> Any:
        if method == "POST":
            bodies[path] = more["json"]
        return await request(self, method, path, **more)

    monkeypatch.setattr(ApiClient, "request", noted)
    asyncio.run(_submit_and_search(settings_for(sandbox, "media")))
    checked = [(REQUESTS[path], body) for path, body in bodies.items() if path in REQUESTS]
    assert len(checked) == len(REQUESTS)
    for (name, value), kept in zip(checked, kept_by_models(checked), strict=True):
        assert _declared(value, kept) == value, name
    created = bodies["/v1/buckets/bkt_sandbox/objects"]
    assert not created.keys() - {*OBJECT_KEYS}


OBJECT_KEYS = ("blobs", "key_prefix", "skip_duplicates", "canonicalize_source", "force_remirror", "idempotency_key")


def _declared(sent: Any, kept: Any) -> Any:
    """What was kept of what was sent, without the defaults that the models add."""
    if isinstance(sent, dict) and isinstance(kept, dict):
        return {key: _declared(sent[key], value) for key, value in kept.items() if key in sent}
    if isinstance(sent, list) and isinstance(kept, list):
        return [_declared(one, other) for one, other in zip(sent, kept, strict=True)]
    return kept


async def _submit_and_search(settings: MixpeekDocumentsSettings) -> None:
    client = ApiClient(settings.client_settings(key_variable="K", headers={"X-Namespace": settings.namespace}))
    retriever = {"retriever_name": "near", "stages": [STAGE]}
    await client.request("POST", "/v1/retrievers", json=retriever, decode=bytes)
    await client.aclose()
    source = settings.open()
    own = load_part(EXAMPLES / "mixpeek-documents.yaml", MixpeekDocumentsSubmitSettings)
    poster = SubmitOptions({"hello": "world"}, own)
    async for _ in source.submit("col_lectures", "https://media.example/lighthouse.jpg", poster):
        pass
    index = ["multimodal_extractor_v1_multimodal_embedding"]
    assert (
        await source.search("col_lectures", SourceQuery("a slide", 3, index, {"metadata.title": ["x"], "a": 1})) == []
    )
    for query in (RetrieverQuery("near"), RetrieverQuery("", [STAGE], {"words": {"type": "text"}})):
        asked = replace(query, inputs={"words": "a slide"}, limit=3, filters={"OR": []})
        assert len(await source.retrieve("col_lectures", asked)) == 3
    await source.aclose()
