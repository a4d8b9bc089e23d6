"""What a TwelveLabs account has can be changed from Python while it is served."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.connector.sandbox.twelvelabs.serving import OPTIONS, Twin, rows_of, twelvelabs
from vectorferry.connector.sandbox import Sandbox, embed_text


@pytest.fixture
async def twin() -> AsyncIterator[Twin]:
    async with twelvelabs() as both:
        yield both


async def _detail(client: httpx.AsyncClient, index: str, asset: str) -> Any:
    return (await client.get(f"/indexes/{index}/indexed-assets/{asset}", params=OPTIONS)).json()


def _first(sandbox: Sandbox) -> tuple[str, str]:
    films = sandbox.twelvelabs.index_id("films")
    return films, sandbox.twelvelabs.asset_ids(films)[0]


def _lengths(detail: Any) -> set[int]:
    return {len(one["float"]) for one in detail["embedding"]["video_embedding"]["segments"]}


async def test_metadata_is_edited_with_and_without_moving_updated_at(twin: Twin) -> None:
    sandbox, client = twin
    index, asset = _first(sandbox)
    before = await _detail(client, index, asset)
    sandbox.twelvelabs.edit_metadata(asset, {"author": "somebody", "lang": None}, touch=False)
    silent = await _detail(client, index, asset)
    assert silent["user_metadata"]["author"] == "somebody"
    assert "lang" not in silent["user_metadata"]
    assert silent["updated_at"] == before["updated_at"]
    sandbox.twelvelabs.edit_metadata(asset, {"author": "somebody else"})
    assert (await _detail(client, index, asset))["updated_at"] > before["updated_at"]


async def test_what_is_not_ready_has_no_vectors_and_gets_them(twin: Twin) -> None:
    sandbox, client = twin
    index, _ = _first(sandbox)
    (asset,) = sandbox.twelvelabs.asset_ids(index, status="indexing")
    waiting = await _detail(client, index, asset)
    assert not {"embedding", "transcription", "indexed_at", "hls"} & waiting.keys()
    sandbox.twelvelabs.set_status(asset, "ready")
    ready = await _detail(client, index, asset)
    assert {"embedding", "transcription", "indexed_at", "hls"} <= ready.keys()
    assert ready["indexed_at"] == ready["updated_at"] > waiting["updated_at"]


async def test_other_vectors_of_another_dimension(twin: Twin) -> None:
    sandbox, client = twin
    index, asset = _first(sandbox)
    before = await _detail(client, index, asset)
    sandbox.twelvelabs.reembed(asset)
    again = await _detail(client, index, asset)
    assert _lengths(again) == {512}
    assert again["embedding"] != before["embedding"]
    sandbox.twelvelabs.reembed(index, 256)
    assert _lengths(await _detail(client, index, asset)) == {256}
    assert _lengths(await _detail(client, index, sandbox.twelvelabs.asset_ids(index)[1])) == {256}


async def test_assets_and_indexes_come_and_go(twin: Twin) -> None:
    sandbox, client = twin
    editor = sandbox.twelvelabs
    index = editor.put_index("tiny", model_name="marengo3.0", dimension=8)
    segments = [
        {"start": 0, "end": 2.5, "option": "visual", "text": "a purple elephant"},
        {"start": 2.5, "end": 4, "option": "visual", "float": b"[1, NaN]"},
    ]
    said = [{"start": 0.5, "end": 2, "value": "Look!"}]
    asset = editor.put_asset(index, {"segments": segments, "transcription": said, "user_metadata": {"n": 1}})
    answer = await client.get(f"/indexes/{index}/indexed-assets/{asset}", params=OPTIONS)
    assert '"float":[1, NaN]' in answer.text
    assert '"transcription":[{"start":0.5,"end":2,"value":"Look!"}]' in answer.text
    assert np.shape(editor.segments(asset)[0]["vector"]) == (8,)
    editor.put_asset(index, {"asset_id": asset, "segments": []})
    assert editor.segments(asset) == []
    editor.remove_asset(asset)
    assert (await client.get(f"/indexes/{index}/indexed-assets/{asset}")).status_code == 404
    editor.remove_index(index)
    assert (await client.get(f"/indexes/{index}")).status_code == 400
    with pytest.raises(KeyError):
        editor.remove_asset(asset)
    with pytest.raises(KeyError):
        editor.remove_index(index)


async def test_an_asset_that_comes_back_has_its_new_vectors(twin: Twin) -> None:
    sandbox, client = twin
    editor = sandbox.twelvelabs
    index = editor.put_index("tiny", dimension=8)
    for text in ("first", "second"):
        editor.put_asset(
            index, {"asset_id": "one", "segments": [{"start": 0, "end": 1, "option": "visual", "text": text}]}
        )
        (served,) = (await _detail(client, index, "one"))["embedding"]["video_embedding"]["segments"]
        (segment,) = editor.segments("one")
        assert np.array_equal(np.array(served["float"], dtype=np.float32), segment["vector"])
        editor.remove_asset("one")


async def test_raw_vectors_and_fields_are_served_as_they_are(twin: Twin) -> None:
    sandbox, client = twin
    index, asset = _first(sandbox)
    sandbox.twelvelabs.put_vector(asset, 0, None)
    sandbox.twelvelabs.put_field(asset, "status", "transmogrified")
    sandbox.twelvelabs.put_field(asset, "user_metadata", b"[1, 2")
    answer = await client.get(f"/indexes/{index}/indexed-assets/{asset}", params=OPTIONS)
    assert '"float":null' in answer.text
    assert '"user_metadata":[1, 2' in answer.text
    rows = await rows_of(client, f"/indexes/{index}/indexed-assets", sort_option="asc")
    assert rows[0]["status"] == "transmogrified"


async def test_a_reembedded_text_is_not_what_the_model_first_made_of_it(twin: Twin) -> None:
    sandbox, _ = twin
    index = sandbox.twelvelabs.put_index("tiny")
    asset = sandbox.twelvelabs.put_asset(
        index, {"segments": [{"start": 0, "end": 1, "option": "visual", "text": "a dog"}]}
    )
    assert np.array_equal(sandbox.twelvelabs.segments(asset)[0]["vector"], embed_text("a dog", "marengo3.0"))
    sandbox.twelvelabs.reembed(asset)
    assert not np.array_equal(sandbox.twelvelabs.segments(asset)[0]["vector"], embed_text("a dog", "marengo3.0"))
