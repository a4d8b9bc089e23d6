"""What is served has the fields and shapes that Mixpeek documents."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from tests.connector.sandbox.serving import EXAMPLE_TEXT, EXAMPLE_TEXT_FEATURE, QUICKSTART_VIDEO, served, speaking
from vectorferry.connector.sandbox import Sandbox, embed_text

ASSET_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}000")
FEATURE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


async def test_the_documented_asset_with_features_is_served_as_printed(client: httpx.AsyncClient) -> None:
    answer = (await client.get(f"/assets/{EXAMPLE_TEXT}/features")).json()
    assert answer["asset"] == {
        "asset_id": EXAMPLE_TEXT,
        "collection_id": "example",
        "status": "DONE",
        "url": None,
        "metadata": {"asset": {}, "author": "user", "preview_url": None},
        "error": None,
        "modality": "text",
        "task_id": "3f0189c2-2f49-4119-851d-56a5701436a9",
        "unique_hash": None,
        "updated_at": "2024-11-07T14:31:56.428000",
        "created_at": "2024-11-07T14:31:55.473000",
        "score": None,
    }
    assert answer["features"] == {
        "video": [],
        "image": [],
        "text": [
            {
                "feature_id": EXAMPLE_TEXT_FEATURE,
                "modality": "text",
                "asset_id": EXAMPLE_TEXT,
                "collection_id": "example",
                "metadata": {"author": "user"},
                "text": "two people inside a car",
                "created_at": "2024-11-07T14:31:56.053031Z",
            }
        ],
        "audio": [],
    }


async def test_the_documented_feature_with_vectors_is_served_as_printed(client: httpx.AsyncClient) -> None:
    answer = await client.get("/features/3086f1ee-62f1-49cf-b859-b553044aebed?include_vectors=true")
    feature = answer.json()
    vector = feature.pop("vectors").pop("multimodal-v1")
    assert feature == {
        "created_at": "2024-11-06T18:19:43.340820Z",
        "asset_id": "cfa6c2a4-b695-4fc2-84df-868391b218e0",
        "metadata": {},
        "feature_id": "3086f1ee-62f1-49cf-b859-b553044aebed",
        "modality": "image",
    }
    assert len(vector) == 1408
    assert b"[-0.022097813,0.021723306," in answer.content


async def test_the_quickstart_segment_keeps_its_line_breaks_and_quotes(client: httpx.AsyncClient) -> None:
    answer = (await client.get(f"/assets/{QUICKSTART_VIDEO}/features")).json()
    segment = answer["features"]["video"][1]
    assert (segment["start_time"], segment["end_time"], segment["interval_sec"]) == (10.0, 20.0, 10)
    assert segment["text"] == "CORTISOL DETOX\nSomatic Yoga challenge\n"
    assert '"fight or flight"' in segment["transcription"]
    assert segment["transcription"].startswith("0:10 ")
    assert segment["transcription"].endswith(" \n")
    assert isinstance(segment["json_output"]["emotions"], list)


async def test_there_are_about_two_hundred_assets_in_every_modality_and_state(sandbox: Sandbox) -> None:
    assets = [sandbox.mixpeek.asset(asset_id) for asset_id in sandbox.mixpeek.asset_ids()]
    states = Counter(asset["status"] for asset in assets)
    assert 180 <= len(assets) <= 220
    assert set(sandbox.mixpeek.collection_ids()) == {"quickstart", "product-shots", "lectures", "example"}
    assert {asset["modality"] for asset in assets} == {"video", "image", "text", "audio"}
    assert states["PROCESSING"] >= 3
    assert states["FAILED"] >= 3
    assert all(bool(asset["error"]) == (asset["status"] == "FAILED") for asset in assets)


async def test_videos_have_three_to_eight_segments_that_follow_one_another(sandbox: Sandbox) -> None:
    videos = [
        asset_id
        for asset_id in sandbox.mixpeek.asset_ids(status="DONE")
        if sandbox.mixpeek.asset(asset_id)["modality"] == "video" and asset_id != QUICKSTART_VIDEO
    ]
    for asset_id in videos:
        spans = [sandbox.mixpeek.feature(one) for one in sandbox.mixpeek.feature_ids(asset_id)]
        assert 3 <= len(spans) <= 8
        assert [one["start_time"] for one in spans] == [10.0 * n for n in range(len(spans))]
        assert all(one["end_time"] - one["start_time"] == one["interval_sec"] for one in spans)


async def test_times_are_mixed_as_documented(client: httpx.AsyncClient) -> None:
    answer = (await client.get(f"/assets/{QUICKSTART_VIDEO}/features")).json()
    assert ASSET_TIME.fullmatch(answer["asset"]["updated_at"])
    assert ASSET_TIME.fullmatch(answer["asset"]["created_at"])
    assert all(FEATURE_TIME.fullmatch(one["created_at"]) for one in answer["features"]["video"])


async def test_two_sandboxes_hold_the_very_same_media() -> None:
    one, other = Sandbox().mixpeek, Sandbox().mixpeek
    assert one.asset_ids() == other.asset_ids()
    assert one.feature_ids() == other.feature_ids()
    assert [one.asset(each) for each in one.asset_ids()] == [other.asset(each) for each in other.asset_ids()]


def test_the_described_media_are_the_same_for_ever() -> None:
    # Ids, times and texts in people's stores must not change with the data file or with whoever reads it.
    mixpeek, twelvelabs = Sandbox().mixpeek, Sandbox().twelvelabs
    media = [
        [mixpeek.asset(one), [mixpeek.feature(part) for part in mixpeek.feature_ids(one)]]
        for one in mixpeek.asset_ids()
    ]
    films = [
        [twelvelabs.asset(one), [[part["start"], part["end"], part["option"]] for part in twelvelabs.segments(one)]]
        for one in twelvelabs.asset_ids()
    ]
    digests = [hashlib.sha256(orjson.dumps(found)).hexdigest()[:16] for found in (media, films)]
    assert digests == ["7874f7985d709f6e", "d69667416df2e060"]


async def test_vectors_come_only_when_asked_for(client: httpx.AsyncClient) -> None:
    assert "vectors" not in (await client.get(f"/features/{EXAMPLE_TEXT_FEATURE}")).json()
    listed = (await client.post("/features", json={"collections": ["example"]})).json()["results"]
    assert all("vectors" not in row for row in listed)


async def test_a_text_has_two_dense_vectors_and_a_sparse_one(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/features/{EXAMPLE_TEXT_FEATURE}", params={"return_vectors": "true"})
    vectors = answer.json()["vectors"]
    assert sorted((name, len(vector)) for name, vector in vectors.items()) == [
        ("baai-bge-m3", 1024),
        ("multimodal-v1", 1408),
        ("splade-v3", 2),
    ]
    sparse = vectors["splade-v3"]
    assert sorted(set(sparse["indices"])) == sparse["indices"]
    assert len(sparse["indices"]) == len(sparse["values"]) > 0


async def test_printed_vectors_give_back_the_same_float32(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/features/{EXAMPLE_TEXT_FEATURE}", params={"include_vectors": "true"})
    served = np.array(orjson.loads(answer.content)["vectors"]["multimodal-v1"], dtype=np.float32)
    assert np.array_equal(served, embed_text("two people inside a car"))


async def test_every_asset_of_a_collection_counts_and_gets_listed(client: httpx.AsyncClient) -> None:
    collections = (await client.get("/collections")).json()["results"]
    for row in collections:
        assert {"count", "size_bytes", "last_updated", "collection_id"} <= row.keys()
        listed = await client.post("/assets?page_size=500", json={"collections": [row["collection_id"]]})
        assert len(listed.json()["results"]) == row["count"]


async def test_one_collection_is_found_by_name_and_unknown_ones_are_not(client: httpx.AsyncClient) -> None:
    found = (await client.get("/collections/quickstart")).json()
    assert (found["collection_id"], found["collection_name"]) == ("quickstart", "quickstart")
    assert (await client.get("/collections/nope")).status_code == 404


async def test_namespaces_are_a_bare_list_and_models_name_their_dimension(client: httpx.AsyncClient) -> None:
    (namespace,) = (await client.get("/namespaces")).json()
    assert namespace.keys() == {"namespace_id", "namespace_name", "embedding_models", "payload_indexes"}
    for path in ("/namespaces/indexes", "/v1/namespaces/models"):
        models = (await client.get(path)).json()["embedding_models"]
        assert {name: (model["vector_type"], model["size"]) for name, model in models.items()} == {
            "multimodal-v1": ("dense", 1408),
            "baai-bge-m3": ("dense", 1024),
            "splade-v3": ("sparse", None),
        }
        assert "video" in models["multimodal-v1"]["supported_modalities"]


async def test_presigned_addresses_are_new_in_every_answer(client: httpx.AsyncClient) -> None:
    path = f"/assets/{QUICKSTART_VIDEO}"
    first, second = [(await client.get(path)).json()["url"] for _ in range(2)]
    plain = (await client.get(path, params={"return_url": "false"})).json()["url"]
    assert first != second
    assert first.split("?")[0] == second.split("?")[0] == plain


async def test_a_task_leads_to_its_asset(client: httpx.AsyncClient) -> None:
    task = (await client.get("/tasks/3f0189c2-2f49-4119-851d-56a5701436a9")).json()
    assert (task["status"], task["asset_id"]) == ("DONE", EXAMPLE_TEXT)
    assert (await client.get("/tasks/nope")).status_code == 404


async def test_a_submitted_video_is_an_unfinished_asset_until_somebody_looks(
    client: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    body = {"url": "https://media.example.com/old-harbour.mp4", "collection_id": "quickstart"}
    queued = (await client.post("/index/url", json=body)).json()
    assert queued.keys() == {"message", "task_id"}
    unfinished = (await client.get("/v1/tasks?page_size=100")).json()["results"]
    assert queued["task_id"] in {row["task_id"] for row in unfinished}
    first, second = [(await client.get(f"/tasks/{queued['task_id']}")).json() for _ in range(2)]
    assert (first["status"], second["status"]) == ("PROCESSING", "DONE")
    assert first["asset_id"] in sandbox.mixpeek.asset_ids("quickstart", status="DONE")
    assert len(sandbox.mixpeek.feature_ids(first["asset_id"])) == 3


@pytest.mark.parametrize(
    ("release", "path", "body", "wrong"),
    [
        ("2024-11", "/index/url", {"collection_id": "c", "url": "u", "percolate": {}}, "percolate"),
        ("2024-12", "/index/images/url", {"collection_id": "c", "url": "u", "image_settings": {}}, "image_settings"),
        ("2025-01", "/ingest/videos/url", {"collection_id": "c", "url": "u"}, "collection"),
        ("2025-01", "/ingest/videos/url", {"collection": "c", "url": "u", "percolate": {}}, "percolate"),
    ],
)
async def test_each_release_takes_what_it_declares(release: Any, path: str, body: Any, wrong: str) -> None:
    async with served(speaking(release=release)) as (_, client):
        answer = await client.post(path, json=body)
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body", wrong]


async def test_unknown_things_and_methods(client: httpx.AsyncClient) -> None:
    assert (await client.get("/assets/nope")).status_code == 404
    assert (await client.get("/assets/nope/features")).status_code == 404
    assert (await client.get("/features/nope")).status_code == 404
    assert (await client.get("/nowhere")).status_code == 404
    assert (await client.put("/collections")).status_code == 405


async def test_the_health_check_needs_no_key(sandbox: Sandbox) -> None:
    async with httpx.AsyncClient() as stranger:
        assert (await stranger.get(f"{sandbox.url}/healthcheck")).json()["status"]
