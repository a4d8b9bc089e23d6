"""Files are uploaded and indexed, and move on while they are looked at; the legacy views show the same."""

from __future__ import annotations

import httpx
import pytest

from tests.connector.sandbox.twelvelabs.serving import OPTIONS, answering, index_named, rows_of, twelvelabs

FILE = {"method": "url", "url": "https://media.example.com/in/red-kite_flying.mp4"}


def _form(**fields: str) -> dict[str, tuple[None, str]]:
    return {name: (None, value) for name, value in fields.items()}


async def _ready_upload(client: httpx.AsyncClient) -> str:
    made = await client.post("/assets", files=_form(**FILE, user_metadata='{"team": "birds"}'))
    assert (made.status_code, made.json()["status"]) == (201, "processing")
    path = f"/assets/{made.json()['_id']}"
    assert [(await client.get(path)).json()["status"] for _ in range(3)] == ["processing", "ready", "ready"]
    return str(made.json()["_id"])


async def test_from_an_address_to_vectors() -> None:
    async with twelvelabs() as (_, client):
        films = await index_named(client, "films")
        upload = await _ready_upload(client)
        body = {"asset_id": upload, "user_metadata": {"rating": 5}}
        made = await client.post(f"/indexes/{films}/indexed-assets", json=body)
        assert made.status_code == 202
        assert made.json().keys() == {"_id", "asset_id"}
        path = f"/indexes/{films}/indexed-assets/{made.json()['_id']}"
        assert made.headers["Location"].endswith(path)
        seen = [(await client.get(path)).json() for _ in range(4)]
        assert [one["status"] for one in seen] == ["pending", "queued", "indexing", "ready"]
        assert len({one["updated_at"] for one in seen}) == 4
        assert ["indexed_at" in one for one in seen] == [False, False, False, True]
        ready = (await client.get(path, params=OPTIONS)).json()
        assert ready["user_metadata"] == {"team": "birds", "rating": 5}
        assert ready["system_metadata"]["filename"] == "red-kite_flying.mp4"
        assert len(ready["embedding"]["video_embedding"]["segments"]) == 8
        assert "red kite flying" in ready["transcription"][0]["value"]
        assert (await client.delete(f"/assets/{upload}")).status_code == 409
        assert (await client.delete(path)).status_code == 204
        assert (await client.get(path)).status_code == 404
        assert (await client.delete(f"/assets/{upload}")).status_code == 204
        assert (await client.get(f"/assets/{upload}")).json()["code"] == "resource_not_exist"


async def test_an_editor_moves_things_too() -> None:
    async with twelvelabs() as (sandbox, client):
        films = await index_named(client, "films")
        upload = (await client.post("/assets", files=_form(**FILE))).json()["_id"]
        refused = await client.post(f"/indexes/{films}/indexed-assets", json={"asset_id": upload})
        assert (refused.status_code, refused.json()["code"]) == (400, "parameter_invalid")
        sandbox.twelvelabs.set_upload_status(upload, "ready")
        asset = (await client.post(f"/indexes/{films}/indexed-assets", json={"asset_id": upload})).json()["_id"]
        sandbox.twelvelabs.set_status(asset, "failed")
        path = f"/indexes/{films}/indexed-assets/{asset}"
        assert [(await client.get(path)).json()["status"] for _ in range(2)] == ["failed"] * 2
        sandbox.twelvelabs.set_upload_status(upload, "failed")
        assert (await client.get(f"/assets/{upload}")).json()["error"]["message"]


@pytest.mark.parametrize(
    ("form", "code"),
    [
        (_form(method="url"), "parameter_not_provided"),
        (_form(url="https://media.example.com/a.mp4"), "parameter_not_provided"),
        (_form(**FILE, user_metadata="[]"), "parameter_invalid"),
    ],
)
async def test_an_upload_that_lacks_something_is_refused(form: dict[str, tuple[None, str]], code: str) -> None:
    async with twelvelabs() as (_, client):
        refused = await client.post("/assets", files=form)
        assert (refused.status_code, refused.json()["code"]) == (400, code)


@pytest.mark.parametrize("moves", [True, False])
async def test_patched_metadata_may_move_updated_at(moves: bool) -> None:
    async with twelvelabs(answering(edits_move_updated_at=moves)) as (sandbox, client):
        films = await index_named(client, "films")
        path = f"/indexes/{films}/indexed-assets/{sandbox.twelvelabs.asset_ids(films)[0]}"
        before = (await client.get(path)).json()
        patched = await client.patch(path, json={"user_metadata": {"author": None, "rating": 9.5}})
        assert (patched.status_code, patched.content) == (204, b"")
        after = (await client.get(path)).json()
        assert "author" not in after["user_metadata"]
        assert after["user_metadata"]["rating"] == 9.5
        assert (after["updated_at"] > before["updated_at"]) is moves


async def test_uploads_are_listed_newest_first_and_filtered() -> None:
    async with twelvelabs() as (_, client):
        rows = await rows_of(client, "/assets")
        assert [row["created_at"] for row in rows] == sorted((row["created_at"] for row in rows), reverse=True)
        assert len(await rows_of(client, "/assets", filename="DOG-AGILITY")) == 8


async def test_a_transcription_comes_in_words_and_sentences() -> None:
    async with twelvelabs() as (_, client):
        (row,) = await rows_of(client, "/assets", filename="dog-agility-1.mp4")
        path = f"/assets/{row['_id']}/transcription"
        words = (await client.get(path)).json()
        assert words.keys() == {"status", "words"}
        assert [one["value"] for one in words["words"][:3]] == ["Wait", "for", "it."]
        both = (await client.get(path, params={"include": "words,sentences"})).json()
        assert both["sentences"][0]["value"] == "Wait for it. Wait. And go!"
        assert both["sentences"][0]["end"] >= both["words"][5]["end"]


async def test_videos_are_the_ready_ones_without_a_status() -> None:
    async with twelvelabs() as (sandbox, client):
        films = await index_named(client, "films")
        rows = await rows_of(client, f"/indexes/{films}/videos")
        assert {row["_id"] for row in rows} == set(sandbox.twelvelabs.asset_ids(films, status="ready"))
        assert all("status" not in row for row in rows)
        video = (await client.get(f"/indexes/{films}/videos/{rows[0]['_id']}", params=OPTIONS)).json()
        asset = (await client.get(f"/indexes/{films}/indexed-assets/{rows[0]['_id']}", params=OPTIONS)).json()
        assert asset["embedding"] == video["embedding"]
        (failed, _) = sandbox.twelvelabs.asset_ids(films, status="failed")
        assert (await client.get(f"/indexes/{films}/videos/{failed}")).status_code == 404


async def test_an_account_may_know_only_the_legacy_videos() -> None:
    async with twelvelabs(answering(indexed_assets=False, system_metadata="metadata")) as (_, client):
        films = await index_named(client, "films")
        assert (await client.get(f"/indexes/{films}/indexed-assets")).status_code == 404
        assert all("metadata" in row for row in await rows_of(client, f"/indexes/{films}/videos"))


async def test_tasks_lead_to_what_they_indexed() -> None:
    async with twelvelabs() as (sandbox, client):
        films = await index_named(client, "films")
        rows = await rows_of(client, "/tasks", index_id=films)
        assert {row["video_id"] for row in rows} == set(sandbox.twelvelabs.asset_ids(films))
        assert (await client.get(f"/tasks/{rows[0]['_id']}")).json() == rows[0]
        assert (await client.get("/tasks/nope")).status_code == 400
