"""What is served can be changed from Python meanwhile."""

from __future__ import annotations

import math
from typing import Any

import httpx
import numpy as np
import pytest

from tests.connector.sandbox.serving import EXAMPLE_TEXT, EXAMPLE_TEXT_FEATURE, QUICKSTART_VIDEO
from vectorferry.connector.sandbox import Sandbox

FEATURE = f"/features/{EXAMPLE_TEXT_FEATURE}?include_vectors=true"


async def _asset(client: httpx.AsyncClient, asset_id: str = EXAMPLE_TEXT) -> Any:
    return (await client.get(f"/assets/{asset_id}/features")).json()


async def test_edited_metadata_moves_updated_at(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    before = (await _asset(client))["asset"]
    sandbox.mixpeek.edit_metadata(EXAMPLE_TEXT, {"author": "somebody"})
    after = (await _asset(client))["asset"]
    assert after["metadata"] == {**before["metadata"], "author": "somebody"}
    assert after["updated_at"] > before["updated_at"]
    assert after["created_at"] == before["created_at"]


async def test_every_edit_moves_updated_at_further(sandbox: Sandbox) -> None:
    seen = []
    for number in range(50):
        sandbox.mixpeek.edit_metadata(EXAMPLE_TEXT, {"n": number})
        seen.append(sandbox.mixpeek.asset(EXAMPLE_TEXT)["updated_at"])
    assert seen == sorted(set(seen))


async def test_an_edit_may_be_silent(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    before = (await _asset(client))["asset"]["updated_at"]
    sandbox.mixpeek.edit_metadata(EXAMPLE_TEXT, {"author": "somebody"}, touch=False)
    sandbox.mixpeek.put_vector(EXAMPLE_TEXT_FEATURE, "multimodal-v1", [1, 2], touch=False)
    assert (await _asset(client))["asset"]["updated_at"] == before


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (b"[1, NaN, -Infinity]", "[1, NaN, -Infinity]"),
        ([1.5, math.nan], "[1.5,NaN]"),
        (None, "null"),
        ("a string", '"a string"'),
        ([0.25] * 3, "[0.25,0.25,0.25]"),
        (b"[1,,", "[1,,"),
    ],
)
async def test_a_raw_vector_is_served_as_it_is(
    client: httpx.AsyncClient, sandbox: Sandbox, value: Any, printed: str
) -> None:
    sandbox.mixpeek.put_vector(EXAMPLE_TEXT_FEATURE, "multimodal-v1", value)
    assert f'"multimodal-v1":{printed}' in (await client.get(FEATURE)).text


async def test_raw_fields_are_served_as_they_are(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    sandbox.mixpeek.put_feature_field(EXAMPLE_TEXT_FEATURE, "text", "nul \x00 byte")
    sandbox.mixpeek.put_feature_field(EXAMPLE_TEXT_FEATURE, "start_time", b"1e999")
    answer = await client.get(f"/assets/{EXAMPLE_TEXT}/features")
    assert '"text":"nul \\u0000 byte"' in answer.text
    assert '"start_time":1e999' in answer.text


async def test_editing_metadata_that_is_no_object_starts_it_anew(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    sandbox.mixpeek.put_asset({"asset_id": EXAMPLE_TEXT, "collection_id": "example", "metadata": 7})
    sandbox.mixpeek.edit_metadata(EXAMPLE_TEXT, {"a": 1})
    assert (await _asset(client))["asset"]["metadata"] == {"a": 1}


async def test_a_new_asset_has_vectors_made_from_its_words(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    sandbox.mixpeek.put_asset(
        {"asset_id": "a" * 3000, "collection_id": "new", "modality": "image"},
        [{"feature_id": "f/1", "description": "a purple elephant"}],
    )
    answer = await client.get("/features/f%2F1?include_vectors=true")
    assert len(answer.json()["vectors"]["multimodal-v1"]) == 1408
    assert (await client.get("/collections/new")).status_code == 200
    found = await client.post("/features/search/text", json={"query": "purple elephant", "collection_ids": ["new"]})
    assert found.json()["results"][0]["feature_id"] == "f/1"


async def test_a_replaced_asset_loses_its_old_features(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    before = (await _asset(client, QUICKSTART_VIDEO))["asset"]["updated_at"]
    old = sandbox.mixpeek.feature_ids(QUICKSTART_VIDEO)
    asset = {"asset_id": QUICKSTART_VIDEO, "collection_id": "quickstart", "modality": "video"}
    sandbox.mixpeek.put_asset(asset, [{"feature_id": "only", "vectors": {"tiny": [1, 2, 3]}}])
    answer = await _asset(client, QUICKSTART_VIDEO)
    assert [row["feature_id"] for row in answer["features"]["video"]] == ["only"]
    assert answer["asset"]["updated_at"] > before
    assert (await client.get(f"/features/{old[0]}")).status_code == 404
    assert (await client.get("/features/only?return_vectors=true")).json()["vectors"] == {"tiny": [1, 2, 3]}


async def test_an_asset_can_move_to_another_collection(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    sandbox.mixpeek.put_asset({"asset_id": EXAMPLE_TEXT, "collection_id": "lectures"})
    assert EXAMPLE_TEXT in sandbox.mixpeek.asset_ids("lectures")
    listed = (await client.post("/assets", json={"collections": ["example"]})).json()["results"]
    assert EXAMPLE_TEXT not in {row["asset_id"] for row in listed}


async def test_features_come(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    sandbox.mixpeek.put_feature(EXAMPLE_TEXT, {"feature_id": "second", "text": "more words"})
    assert [row["feature_id"] for row in (await _asset(client))["features"]["text"]] == [EXAMPLE_TEXT_FEATURE, "second"]


async def test_a_removed_asset_is_gone_everywhere(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    sandbox.mixpeek.remove_asset(EXAMPLE_TEXT)
    assert (await client.get(f"/assets/{EXAMPLE_TEXT}")).status_code == 404
    assert (await client.get(FEATURE)).status_code == 404
    assert (await client.get("/collections")).json()["results"][3]["count"] == 1


def test_what_does_not_exist_cannot_be_edited() -> None:
    editor = Sandbox().mixpeek
    for edit in (editor.remove_asset, editor.asset, editor.feature, editor.feature_ids):
        with pytest.raises(KeyError):
            edit("nope")


async def test_requests_are_counted_by_route_and_control_is_not(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    await client.get(FEATURE)
    await client.get(f"/v1{FEATURE}")
    await client.get("/collections")
    await client.get("/nowhere")
    counted = {"collections.list": 1, "features.get": 2, "unknown": 1}
    assert (await client.get("/_sandbox/requests")).json() == counted == sandbox.requests.counts()
    assert sandbox.requests.total == 4
    await client.post("/_sandbox/requests/reset")
    assert sandbox.requests.counts() == {}


async def test_numpy_vectors_can_be_put(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    sandbox.mixpeek.put_vector(EXAMPLE_TEXT_FEATURE, "tiny", np.array([0.1, 0.2], dtype=np.float32))
    assert '"tiny":[0.1,0.2]' in (await client.get(FEATURE)).text
