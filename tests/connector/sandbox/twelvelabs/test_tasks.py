"""Embedding tasks of both versions, entities and search."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import pytest

from tests.connector.sandbox.twelvelabs.serving import Twin, answering, index_named, rows_of, twelvelabs
from vectorferry.connector.sandbox import embed_text

EVER = "2020-01-01T00:00:00Z"


@pytest.fixture
async def twin() -> AsyncIterator[Twin]:
    async with twelvelabs() as both:
        yield both


async def _of_status(client: httpx.AsyncClient, path: str, status: str) -> Any:
    row = (await rows_of(client, path, status=status))[0]
    return (await client.get(f"{path}/{row['_id']}")).json()


@pytest.mark.parametrize("path", ["/embed/tasks", "/embed-v2/tasks"])
async def test_the_lists_end_after_seven_days_unless_dates_are_named(twin: Twin, path: str) -> None:
    client = twin[1]
    rows = await rows_of(client, path)
    assert len(rows) == 6
    assert [row["created_at"] for row in rows] == sorted((row["created_at"] for row in rows), reverse=True)
    assert not any("segments" in str(row) or "data" in row for row in rows)
    assert len(await rows_of(client, path, started_at=EVER)) == 7
    week_ago = (datetime.now(UTC) - timedelta(days=7)).isoformat()
    (old,) = await rows_of(client, path, started_at=EVER, ended_at=week_ago)
    assert len(await rows_of(client, path, ended_at=datetime.now(UTC).isoformat(), status="failed")) == 1
    assert old["status"] == "ready"


async def test_the_naming_trap(twin: Twin) -> None:
    client = twin[1]
    first = await _of_status(client, "/embed/tasks", "ready")
    segment = first["video_embedding"]["segments"][0]
    assert segment.keys() == {*("start_offset_sec", "end_offset_sec", "embedding_option", "embedding_scope", "float")}
    assert {one["embedding_scope"] for one in first["video_embedding"]["segments"]} == {"clip", "video"}
    second = await _of_status(client, "/embed-v2/tasks", "ready")
    assert second["data"][0].keys() == {*("start_sec", "end_sec", "embedding_option", "embedding_scope", "embedding")}
    assert {one["embedding_scope"] for one in second["data"]} == {"clip", "asset"}
    assert "model_name" not in second


async def test_unfinished_and_failed_tasks_have_no_vectors(twin: Twin) -> None:
    client = twin[1]
    for status in ("processing", "failed"):
        assert "segments" not in (await _of_status(client, "/embed/tasks", status))["video_embedding"]
        second = await _of_status(client, "/embed-v2/tasks", status)
        assert second["data"] is None
        assert ("error" in second) == (status == "failed")


async def test_vectors_end_after_seven_days(twin: Twin) -> None:
    client = twin[1]
    for path in ("/embed/tasks", "/embed-v2/tasks"):
        old = (await rows_of(client, path, started_at=EVER))[-1]
        task = (await client.get(f"{path}/{old['_id']}")).json()
        assert (task["data"] if "data" in task else task["video_embedding"].get("segments")) is None
    assert task["error"]["message"].startswith("The embedding result")


async def test_the_lists_may_be_one(twin: Twin) -> None:
    (wanted,) = await rows_of(twin[1], "/embed/tasks", status="failed")
    assert (await twin[1].get(f"/embed-v2/tasks/{wanted['_id']}")).status_code == 404
    assert (await twin[1].get("/embed/tasks/nope")).status_code == 400
    async with twelvelabs(answering(shared_tasks=True)) as (_, client):
        assert len(await rows_of(client, "/embed/tasks")) == len(await rows_of(client, "/embed-v2/tasks")) == 12
        assert (await client.get(f"/embed-v2/tasks/{wanted['_id']}")).status_code == 200


async def test_a_submitted_task_gets_ready(twin: Twin) -> None:
    client = twin[1]
    body = {
        "input_type": "audio",
        "model_name": "marengo3.5",
        "embedding_dimension": 256,
        "audio": {"media_source": {"url": "https://media.example.com/red-kite.mp3"}},
    }
    made = await client.post("/embed-v2/tasks", json=body)
    assert (made.status_code, made.json()["data"]) == (202, None)
    seen = [(await client.get(made.headers["Location"])).json() for _ in range(2)]
    assert [one["status"] for one in seen] == ["processing", "ready"]
    assert {len(one["embedding"]) for one in seen[1]["data"]} == {256}


async def test_a_text_is_embedded_at_once_and_errors_have_an_envelope(twin: Twin) -> None:
    body = {"input_type": "text", "model_name": "marengo3.0", "text": {"input_text": "a dog"}}
    (row,) = (await twin[1].post("/embed-v2", json=body)).json()["data"]
    assert np.array_equal(np.array(row["embedding"], dtype=np.float32), embed_text("a dog", "marengo3.0"))
    refused = await twin[1].post("/embed-v2", json={**body, "model_name": "nope"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "VALIDATION_ERROR")


async def test_entities_are_listed_by_collection(twin: Twin) -> None:
    sandbox, client = twin
    collections = await rows_of(client, "/entity-collections", sort_by="created_at", sort_option="asc")
    assert [row["name"] for row in collections] == ["people", "dogs", "empty"]
    dogs = f"/entity-collections/{collections[1]['_id']}/entities"
    entities = await rows_of(client, dogs, sort_by="created_at", sort_option="asc")
    assert [row["name"] for row in entities] == ["Bolt", "Pixel", "Nana"]
    assert entities[0]["entity_collection_id"] == collections[1]["_id"]
    assert (await client.get(f"/assets/{entities[0]['asset_ids'][0]}")).json()["filename"] == "bolt.jpg"
    sandbox.twelvelabs.put_entity(collections[1]["_id"], "Bolt", entities[0]["_id"], description="fast")
    assert (await rows_of(client, dogs, sort_by="updated_at"))[0]["description"] == "fast"
    sandbox.twelvelabs.remove_entity(entities[1]["_id"])
    assert len(await rows_of(client, dogs)) == 2
    assert (await client.get("/entity-collections/nope/entities")).status_code == 404


async def _found(client: httpx.AsyncClient, words: str, **fields: Any) -> Any:
    form = {"index_id": await index_named(client, "films"), "search_options": ["visual"], "query_text": words}
    files = [
        (name, (None, value))
        for name, values in {**form, **fields}.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    return (await client.post("/search", files=files)).json()


async def test_the_nearest_segments_are_found_page_by_page(twin: Twin) -> None:
    client = twin[1]
    first = await _found(client, "a dog jumps over a bar", page_limit="4")
    assert first["search_pool"]["total_count"] == 74
    assert [row["rank"] for row in first["data"]] == [1, 2, 3, 4]
    assert len({(row["video_id"], row["start"]) for row in first["data"]}) == 4
    token = first["page_info"]["next_page_token"]
    second = (await client.get(f"/search/{token}", params={"include_user_metadata": "true"})).json()
    assert second["data"][0]["rank"] == 5
    assert "dog" in second["data"][0]["user_metadata"]["tags"]
    assert (await client.get("/search/nope")).json()["code"] == "search_page_token_expired"


async def test_hits_are_of_the_options_and_fit_the_filter(twin: Twin) -> None:
    client = twin[1]
    assert (await _found(client, "a dog", filter='{"lang": "xx"}'))["data"] == []
    narrow = await _found(client, "a dog jumps", filter='{"duration": {"lte": 20}}', page_limit="50")
    every = await _found(client, "a dog jumps", page_limit="50")
    assert 0 < len(narrow["data"]) < len(every["data"])
    spoken = await _found(client, "violins in a cellar", search_options=["audio", "transcription"])
    assert "violins" in spoken["data"][0]["transcription"]
    grouped = await _found(client, "a dog jumps", group_by="video", page_limit="50")
    assert sum(len(row["clips"]) for row in grouped["data"]) == every["page_info"]["total_results"]


async def test_an_entity_is_searched_for_by_its_name(twin: Twin) -> None:
    sandbox, client = twin
    dogs = sandbox.twelvelabs.put_entity_collection("words")
    entity = sandbox.twelvelabs.put_entity(dogs, "violins in a cellar")
    by_name = await _found(client, "violins in a cellar", search_options=["audio"])
    by_entity = await _found(client, f"<@{entity}>", search_options=["audio"])
    places = [[(row["video_id"], row["start"]) for row in found["data"]] for found in (by_name, by_entity)]
    assert places[0] == places[1] != []
