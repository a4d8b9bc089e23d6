"""Pages: three shapes, full next_page addresses, and everything exactly once."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.connector.sandbox.serving import QUICKSTART_VIDEO, served, speaking
from vectorferry.connector.sandbox import Sandbox


async def _follow(client: httpx.AsyncClient, body: dict[str, Any], url: str | None) -> list[str]:
    found = []
    while url is not None:
        answer = (await client.post(url, json=body)).json()
        found += [row["asset_id"] for row in answer["results"]]
        url = answer["pagination"]["next_page"]
    return found


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_next_page_leads_through_all_assets_once(
    client: httpx.AsyncClient, sandbox: Sandbox, prefix: str
) -> None:
    found = await _follow(client, {"collections": ["quickstart", "lectures"]}, f"{prefix}/assets?page_size=7")
    assert found == [*sandbox.mixpeek.asset_ids("quickstart"), *sandbox.mixpeek.asset_ids("lectures")]


async def test_a_middle_page_names_both_neighbours(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    answer = (await client.post("/assets?page=2&page_size=20", json={"collections": ["quickstart"]})).json()
    assert answer["pagination"] == {
        "total": 75,
        "page": 2,
        "page_size": 20,
        "total_pages": 4,
        "next_page": f"{sandbox.url}/assets?page=3&page_size=20",
        "previous_page": f"{sandbox.url}/assets?page=1&page_size=20",
    }


async def test_ten_rows_are_the_default_and_an_unknown_collection_has_none(client: httpx.AsyncClient) -> None:
    answer = (await client.post("/assets", json={"collections": ["quickstart"]})).json()
    assert len(answer["results"]) == answer["pagination"]["page_size"] == 10
    empty = (await client.post("/assets", json={"collections": ["nope"]})).json()
    assert empty["results"] == []
    assert empty["pagination"]["next_page"] is None


@pytest.mark.parametrize("query", ["page=0", "page_size=0", "page=x", "page_size=-3"])
async def test_nonsense_pages_are_refused_the_fastapi_way(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.post(f"/assets?{query}", json={"collections": ["quickstart"]})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", query.split("=", maxsplit=1)[0]]


async def test_collections_are_paged_too(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/collections?page=2&page_size=3")).json()
    assert [row["collection_id"] for row in answer["results"]] == ["example"]
    assert answer["pagination"]["total"] == 4


async def test_features_go_on_from_an_offset(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    every = sandbox.mixpeek.feature_ids(QUICKSTART_VIDEO)
    answer = await client.post(
        "/features", params={"offset_feature_id": every[4], "page_size": 3}, json={"collections": ["quickstart"]}
    )
    assert [row["feature_id"] for row in answer.json()["results"]] == every[4:7]
    counts = {"total", "page_size", "total_pages", "current_page"}
    assert answer.json()["pagination"].keys() == {*counts, "next_page", "previous_page"}


async def test_a_cap_holds_for_every_page() -> None:
    async with served(speaking(page_size_cap=5)) as (_, client):
        answer = (await client.post("/assets?page_size=100", json={"collections": ["quickstart"]})).json()
        assert len(answer["results"]) == answer["pagination"]["page_size"] == 5
        assert answer["pagination"]["total_pages"] == 15


async def test_video_segments_are_paged_and_their_next_page_is_misleading() -> None:
    async with served(speaking(features_reply="video_segments")) as (sandbox, client):
        answer = (await client.get(f"/assets/{QUICKSTART_VIDEO}/features")).json()
        assert [row["start_time"] for row in answer["video_segments"]] == [10.0 * n for n in range(10)]
        assert answer["pagination"] == {
            "total": 12,
            "page": 1,
            "page_size": 10,
            "total_pages": 2,
            "next_page": f"{sandbox.url}/assets/{QUICKSTART_VIDEO}?page=2&page_size=10",
            "previous_page": None,
        }
        rest = (await client.get(f"/assets/{QUICKSTART_VIDEO}/features?page=2&page_size=10")).json()
        assert [row["start_time"] for row in rest["video_segments"]] == [100.0, 110.0]


async def test_filters_and_sorting(client: httpx.AsyncClient) -> None:
    filters = {
        "AND": [{"key": "metadata.author", "value": "maren", "operator": "eq"}, {"key": "status", "value": "DONE"}]
    }
    body = {"collections": ["quickstart"], "filters": filters, "sort": {"field": "updated_at", "direction": "desc"}}
    rows = (await client.post("/assets?page_size=100", json=body)).json()["results"]
    assert rows
    assert {row["metadata"]["author"] for row in rows} == {"maren"}
    assert [row["updated_at"] for row in rows] == sorted((row["updated_at"] for row in rows), reverse=True)


async def test_more_filter_operators(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    async def count(*conditions: dict[str, Any], how: str = "AND") -> int:
        body = {"collections": sandbox.mixpeek.collection_ids(), "filters": {how: list(conditions)}}
        total = (await client.post("/assets", json=body)).json()["pagination"]["total"]
        assert isinstance(total, int)
        return total

    every = len(sandbox.mixpeek.asset_ids())
    failed = {"key": "error", "operator": "exists", "value": True}
    video = {"key": "modality", "operator": "in", "value": ["video"]}
    late = {"key": "created_at", "operator": "gte", "value": "2024-11-07T12:00:00"}
    early = {"key": "created_at", "operator": "lt", "value": "2024-11-07T12:00:00"}
    assert await count(failed) == len(sandbox.mixpeek.asset_ids(status="FAILED"))
    assert await count(video) + await count(video, how="NOR") == every
    assert await count(late) + await count(early) == every == await count(late, early, how="OR")
    assert await count({"key": "metadata.tags", "value": "DOG"}) > 0


async def test_select_keeps_only_what_is_named(client: httpx.AsyncClient) -> None:
    body = {"collections": ["example"], "select": ["asset_id", "metadata.author"]}
    rows = (await client.post("/assets", json=body)).json()["results"]
    assert all(row.keys() == {"asset_id", "metadata"} for row in rows)
    assert rows[0]["metadata"] == {"author": "user"}
