"""Mixpeek's own SDK, 1.3.783, reads what the sandbox serves, and brings what is then synced.

Its models check types, required keys and enumerations. They take any pagination, and keep what they do not know.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import SecretStr

from tests.referees.environments import referee_answers, referee_python
from vectorferry.connector.http import ApiClient
from vectorferry.connector.sandbox import Sandbox, running_sandbox
from vectorferry.connector.sources.mixpeek_documents import MixpeekDocumentsSettings
from vectorferry.connector.testing import MemoryDestination, sync

pytestmark = [pytest.mark.referee, pytest.mark.timeout(600)]

VERSION = "1.3.783"
SCRIPTS = Path(__file__).parent / "scripts"
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
    python = referee_python("mixpeek", VERSION)
    told = subprocess.run(
        [python, SCRIPTS / "check_mixpeek_models.py"],
        input=json.dumps(checked),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    for (name, value), keys in zip(checked, json.loads(told.stdout), strict=True):
        if name.endswith("Request"):
            assert {*value} <= {*keys}, name
