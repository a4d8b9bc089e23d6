"""Indexes and what is in them have the fields and shapes that TwelveLabs documents."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import numpy as np
import pytest

from tests.connector.sandbox.twelvelabs.serving import OPTIONS, index_named, rows_of, twelvelabs
from vectorferry.connector.sandbox import GeneratedIndexes, SandboxSettings, embed_text

ID = re.compile(r"[0-9a-f]{24}")
TIME = re.compile(r"2026-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with twelvelabs() as (_, client):
        yield client


async def test_an_index_says_its_models_and_how_much_it_holds(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/indexes", params={"sort_option": "asc"})).json()
    assert answer["page_info"] == {"limit_per_page": 10, "page": 1, "total_page": 1, "total_results": 3}
    assert [row["index_name"] for row in answer["data"]] == ["archive", "films", "lectures"]
    films = answer["data"][1]
    assert ID.fullmatch(films["_id"])
    assert TIME.fullmatch(films["created_at"])
    assert films["created_at"] < films["updated_at"]
    assert (films["expires_at"], films["video_count"]) == (None, 74)
    assert films["total_duration"] > 1_000
    assert films["models"] == [
        {"model_name": "marengo3.0", "model_options": ["visual", "audio"], "addons": ["thumbnail"]}
    ]
    assert (await client.get(f"/indexes/{films['_id']}")).json() == films


async def test_the_list_of_an_index_has_no_metadata_and_no_vectors(client: httpx.AsyncClient) -> None:
    films = await index_named(client, "films")
    rows = await rows_of(client, f"/indexes/{films}/indexed-assets", sort_by="created_at", sort_option="asc")
    assert len({row["_id"] for row in rows}) == len(rows) == 74
    assert [row["created_at"] for row in rows] == sorted(row["created_at"] for row in rows)
    always = {"_id", "asset_id", "created_at", "updated_at", "status", "system_metadata"}
    assert all(row.keys() - {"indexed_at"} == always for row in rows)
    assert all(("indexed_at" in row) == (row["status"] == "ready") for row in rows)
    states = Counter(row["status"] for row in rows)
    assert states == {"ready": 68, "failed": 2, "pending": 1, "queued": 1, "indexing": 1, "validating": 1}


async def test_detail_has_vectors_and_transcription_only_when_asked(client: httpx.AsyncClient) -> None:
    films = await index_named(client, "films")
    (row,) = await rows_of(client, f"/indexes/{films}/indexed-assets", filename="dog-agility-1.mp4")
    path = f"/indexes/{films}/indexed-assets/{row['_id']}"
    plain = (await client.get(path)).json()
    assert plain.keys() - row.keys() == {"user_metadata", "hls"}
    assert plain["user_metadata"]["author"] == "maren"
    detail = (await client.get(path, params=OPTIONS)).json()
    assert detail.keys() - plain.keys() == {"embedding", "transcription"}
    assert detail["embedding"]["model_name"] == "marengo3.0"
    segments = detail["embedding"]["video_embedding"]["segments"]
    assert Counter(one["embedding_option"] for one in segments) == {"visual": 6, "audio": 6, "transcription": 6}
    assert {one["embedding_scope"] for one in segments} == {"clip"}
    assert {len(one["float"]) for one in segments} == {512}
    assert len({one["end_offset_sec"] - one["start_offset_sec"] for one in segments}) > 3
    assert detail["transcription"][0]["value"] == "Wait for it. Wait. And go!"
    assert segments[0]["end_offset_sec"] <= detail["system_metadata"]["duration"] == segments[5]["end_offset_sec"]
    assert detail["hls"]["thumbnail_urls"] != plain["hls"]["thumbnail_urls"]
    assert detail["hls"]["video_url"] == plain["hls"]["video_url"]


async def test_vectors_are_made_from_the_words_with_the_index_s_own_model(client: httpx.AsyncClient) -> None:
    films, archive = await index_named(client, "films"), await index_named(client, "archive")
    read = {}
    for index in (films, archive):
        (row,) = await rows_of(client, f"/indexes/{index}/indexed-assets", filename="dog-agility-1.mp4")
        detail = await client.get(f"/indexes/{index}/indexed-assets/{row['_id']}", params=OPTIONS)
        read[index] = {**detail.json(), "asset_id": row["asset_id"]}
    assert read[films]["asset_id"] == read[archive]["asset_id"]
    assert read[films]["_id"] != read[archive]["_id"]
    assert read[archive]["embedding"]["model_name"] == "marengo2.7"
    old = read[archive]["embedding"]["video_embedding"]["segments"]
    assert {one["embedding_option"] for one in old} == {"visual", "audio"}
    assert {len(one["float"]) for one in old} == {1024}
    spoken = read[films]["embedding"]["video_embedding"]["segments"][12]["float"]
    assert np.array_equal(np.array(spoken, dtype=np.float32), embed_text("Wait for it. Wait. And go!", "marengo3.0"))


@pytest.mark.parametrize(
    "query",
    ["user_metadata[author]=maren", "author=maren", "user_metadata%5Bauthor%5D=maren&user_metadata%5Blang%5D=en"],
)
async def test_the_user_s_metadata_is_asked_for_in_two_ways(client: httpx.AsyncClient, query: str) -> None:
    films = await index_named(client, "films")
    found = (await client.get(f"/indexes/{films}/indexed-assets?page_limit=50&{query}")).json()["data"]
    assert {row["system_metadata"]["filename"][:11] for row in found} == {"dog-agility"}


async def test_lists_are_filtered_by_numbers_and_states(client: httpx.AsyncClient) -> None:
    films = await index_named(client, "films")
    path = f"/indexes/{films}/indexed-assets"
    rows = await rows_of(client, path)
    middle = sorted(row["system_metadata"]["duration"] for row in rows)[37]
    below = await rows_of(client, path, **{"duration[lte]": middle})
    above = await rows_of(client, path, **{"duration[gte]": middle})
    assert min(len(below), len(above)) > 30
    assert {row["_id"] for row in (*below, *above)} == {row["_id"] for row in rows}
    assert {row["status"] for row in await rows_of(client, path, status="failed,pending")} == {"failed", "pending"}
    assert (await client.get(path, params={"duration[gte]": "long"})).status_code == 400


async def test_an_upload_knows_its_indexes(client: httpx.AsyncClient) -> None:
    archive = await index_named(client, "archive")
    (row,) = await rows_of(client, f"/indexes/{archive}/indexed-assets", filename="dog-agility-1.mp4")
    found = (await client.get(f"/assets/{row['asset_id']}/indexed-assets")).json()
    assert [one["index"]["name"] for one in found["data"]] == ["films", "archive"]
    assert found["data"][1] == {"_id": row["_id"], "index": {"_id": archive, "name": "archive"}}


async def test_generated_assets_are_dealt_out_and_their_vectors_repeat() -> None:
    generate = GeneratedIndexes(assets=7, segments_per_asset=3, dimension=16, indexes=("a", "b"), printed=True)
    seen = []
    for _ in range(2):
        async with twelvelabs(SandboxSettings(generate_twelvelabs=generate)) as (_, client):
            a, b = await index_named(client, "a"), await index_named(client, "b")
            rows = await rows_of(client, f"/indexes/{a}/indexed-assets", sort_option="asc")
            assert (len(rows), len(await rows_of(client, f"/indexes/{b}/indexed-assets"))) == (4, 3)
            seen.append((await client.get(f"/indexes/{a}/indexed-assets/{rows[0]['_id']}", params=OPTIONS)).json())
    assert seen[0] == seen[1]
    segments = seen[0]["embedding"]["video_embedding"]["segments"]
    assert len(segments) == 9
    assert len({tuple(one["float"]) for one in segments}) == 9
    assert len(seen[0]["transcription"]) == 3
