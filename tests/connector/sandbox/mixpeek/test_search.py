"""Search finds what a person would expect, in both documented forms."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from vectorferry.connector.sandbox import embed_text

EVERYWHERE = ["quickstart", "product-shots", "lectures", "example"]


async def _search(client: httpx.AsyncClient, query: str, **body: Any) -> list[dict[str, Any]]:
    answer = await client.post("/features/search/text", json={"query": query, "collection_ids": EVERYWHERE, **body})
    results = answer.json()["results"]
    assert isinstance(results, list)
    return results


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("dog jumping", "jump"),
        ("a chef chopping onions", "onion"),
        ("moon and tides", "tides"),
        ("running shoe", "shoe"),
        ("city street at night", "night"),
        ("interest rates", "interest"),
    ],
)
async def test_the_obvious_thing_comes_first(client: httpx.AsyncClient, query: str, word: str) -> None:
    first = (await _search(client, query))[0]
    assert word in " ".join(str(value) for value in first.values()).lower()
    assert first["score"] > 0.3


async def test_synonyms_are_near(client: httpx.AsyncClient) -> None:
    found = await _search(client, "puppy leaping")
    assert all("jump" in str(row.values()) or "leap" in str(row.values()) for row in found[:3])


async def test_the_documented_text_finds_itself_and_scores_fall(client: httpx.AsyncClient) -> None:
    found = await _search(client, "two people inside a car", page_size=5)
    assert found[0]["text"] == "two people inside a car"
    assert found[0]["score"] == pytest.approx(1.0)
    assert [row["score"] for row in found] == sorted((row["score"] for row in found), reverse=True)


async def test_filters_of_the_quickstart_guide(client: httpx.AsyncClient) -> None:
    filters = {"AND": [{"key": "metadata.hello", "value": "world", "operator": "eq"}]}
    found = await _search(client, "dog jumping", filters=filters)
    assert found
    assert all(row["metadata"]["hello"] == "world" for row in found)


async def test_full_text_wants_the_words_themselves(client: httpx.AsyncClient) -> None:
    found = await _search(client, "cortisol", search_type="fulltext")
    assert ["CORTISOL" in row["text"] for row in found] == [True]


async def test_sparse_search_needs_a_shared_word(client: httpx.AsyncClient) -> None:
    found = await _search(client, "lost kitten", model_id="splade-v3")
    assert "kitten" in found[0]["text"]
    assert await _search(client, "zebra", model_id="splade-v3") == []


async def test_an_unknown_model_and_a_missing_query_are_refused(client: httpx.AsyncClient) -> None:
    unknown = await client.post("/features/search/text", json={"query": "x", "collection_ids": [], "model_id": "nope"})
    assert unknown.status_code == 400
    missing = await client.post("/features/search/text", json={"collection_ids": []})
    assert missing.json()["detail"][0]["loc"] == ["body", "query"]


async def test_offset_position_goes_on_where_the_page_ended(client: httpx.AsyncClient) -> None:
    async def page(offset: int) -> list[str]:
        params = {"offset_position": offset, "page_size": 5}
        body = {"query": "sea", "collection_ids": EVERYWHERE}
        rows = (await client.post("/features/search/text", params=params, json=body)).json()["results"]
        return [row["feature_id"] for row in rows]

    assert len({*await page(0), *await page(5)}) == 10
    assert await page(3) == [*(await page(0))[3:], *(await page(5))[:3]]


async def test_page_size_of_search_ends_at_a_hundred(client: httpx.AsyncClient) -> None:
    body = {"query": "sea", "collection_ids": EVERYWHERE}
    assert (await client.post("/features/search/text?page_size=101", json=body)).status_code == 422


async def test_no_queries_find_every_feature(client: httpx.AsyncClient) -> None:
    answer = (await client.post("/v1/features/search", json={"queries": [], "collections": ["example"]})).json()
    assert answer["pagination"]["total"] == 2


async def test_several_queries_are_fused(client: httpx.AsyncClient) -> None:
    queries = [
        {"embedding_model": "multimodal", "type": "text", "value": "wave"},
        {"embedding_model": "text", "type": "text", "value": "wave", "settings": {"modality": "text", "limit": 3}},
    ]
    body = {"queries": queries, "collections": ["quickstart"]}
    found = (await client.post("/features/search", json=body)).json()["results"]
    assert "wave" in found[0]["text"]
    assert found[0]["score"] <= 2 / 61


async def test_results_may_be_grouped_by_asset(client: httpx.AsyncClient) -> None:
    query = {"embedding_model": "multimodal", "type": "text", "value": "dog"}
    body = {"queries": [query], "collections": ["quickstart"], "group_by": {"field": "asset_id", "max_features": 2}}
    answer = (await client.post("/features/search", json=body)).json()
    assert answer["total_groups"] == len(answer["groups"])
    assert all(len(group["features"]) <= 2 for group in answer["groups"])
    assert all(one["asset_id"] == group["key"] for group in answer["groups"] for one in group["features"])


async def test_the_embed_endpoint_agrees_with_embed_text(client: httpx.AsyncClient) -> None:
    body = {"type": "text", "value": "a dog", "embedding_model": "multimodal"}
    answer = (await client.post("/features/extractors/embed", json=body)).json()
    assert answer["embedding"]["vector"] == pytest.approx(embed_text("a dog").tolist())
    sparse = (await client.post("/features/extractors/embed", json={**body, "embedding_model": "keyword"})).json()
    assert sparse["embedding"].keys() == {"indices", "values"}
