"""What TwelveLabs' documents leave open can be switched, and each refusal has the body that is known."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import httpx
import pytest

from tests.connector.sandbox.twelvelabs.serving import OPTIONS, answering, index_named, rows_of, twelvelabs
from vectorferry.connector.sandbox import Fault, SandboxSettings, SetField, ShiftRows, Status, Vanish

ASSETS = "/indexes/{}/indexed-assets"


async def _first_of(client: httpx.AsyncClient, name: str = "films", **query: Any) -> Any:
    path = ASSETS.format(await index_named(client, name))
    row = (await rows_of(client, path, sort_option="asc", **query))[0]
    return (await client.get(f"{path}/{row['_id']}", params=OPTIONS)).json()


async def test_fields_may_have_other_names_or_be_missing() -> None:
    async with twelvelabs(answering(system_metadata="metadata", asset_ids=False, expires_at=True)) as (_, client):
        asset = await _first_of(client)
        assert asset["metadata"]["filename"] == "dog-agility-1.mp4"
        assert not {"system_metadata", "asset_id"} & asset.keys()
        for index in (await client.get("/indexes")).json()["data"]:
            assert index["expires_at"] > index["created_at"]


@pytest.mark.parametrize(("silence", "said"), [("null", None), ("empty", [])])
async def test_nothing_spoken(silence: str, said: Any) -> None:
    async with twelvelabs(answering(silence=silence)) as (_, client):
        silent = await _first_of(client, filename="backpack-1-turning.mp4")
        assert silent["transcription"] == said
        assert {one["embedding_option"] for one in silent["embedding"]["video_embedding"]["segments"]} == {"visual"}


async def test_a_transcription_may_come_in_words() -> None:
    async with twelvelabs(answering(transcription="words")) as (_, client):
        assert [one["value"] for one in (await _first_of(client))["transcription"][:2]] == ["Wait", "for"]


@pytest.mark.parametrize(("null", "empty"), [(False, []), (True, None)])
async def test_beyond_the_last_page_there_are_no_rows(null: bool, empty: Any) -> None:
    async with twelvelabs(answering(null_data=null)) as (_, client):
        answer = (await client.get("/indexes", params={"page": 9})).json()
        assert answer["data"] == empty
        assert answer["page_info"] == {"limit_per_page": 10, "page": 9, "total_page": 1, "total_results": 3}
        nothing = (await client.get("/indexes", params={"index_name": "nothing"})).json()
        assert (nothing["data"], nothing["page_info"]["total_page"]) == (empty, 0)


@pytest.mark.parametrize(("digits", "form"), [(0, r"\d\dZ"), (2, r"\d\d\.\d\dZ"), (3, r"\d\d\.\d{3}Z")])
async def test_times_have_any_number_of_digits(digits: int, form: str) -> None:
    async with twelvelabs(answering(date_digits=digits)) as (_, client):
        asset = await _first_of(client)
        for name in ("created_at", "updated_at", "indexed_at"):
            assert re.fullmatch(rf"2026-03-\d\dT\d\d:\d\d:{form}", asset[name])


async def test_segments_may_be_out_of_order_and_one_may_be_the_whole_asset() -> None:
    async with twelvelabs(answering(segment_order="shuffled", whole_asset="video")) as (_, client):
        asset = await _first_of(client)
        segments = asset["embedding"]["video_embedding"]["segments"]
        starts = [one["start_offset_sec"] for one in segments]
        assert starts != sorted(starts)
        whole = [one for one in segments if one["embedding_scope"] == "video"]
        assert Counter(one["embedding_option"] for one in whole) == {"visual": 1, "audio": 1, "transcription": 1}
        assert {one["end_offset_sec"] for one in whole} == {asset["system_metadata"]["duration"]}


async def test_an_option_that_the_index_lacks_is_refused() -> None:
    async with twelvelabs() as (sandbox, client):
        index = sandbox.twelvelabs.put_index("seen", options=("visual",))
        segments = [{"start": 0, "end": 1, "option": "visual", "text": "a dog"}]
        path = f"{ASSETS.format(index)}/{sandbox.twelvelabs.put_asset(index, {'segments': segments})}"
        assert (await client.get(path, params={"embedding_option": "audio"})).status_code == 400
        assert (await client.get(path, params={"embedding_option": "smell"})).status_code == 400


@pytest.mark.parametrize(
    ("rule", "index_status", "asset_status", "code"),
    [
        ("declared", 400, 404, "resource_not_exist"),
        ("400", 400, 400, "resource_not_exist"),
        ("403", 403, 403, "read_not_allowed"),
        ("404", 404, 404, "resource_not_exist"),
    ],
)
async def test_what_is_not_there(rule: str, index_status: int, asset_status: int, code: str) -> None:
    async with twelvelabs(answering(missing=rule)) as (_, client):
        films = await index_named(client, "films")
        for path, status in (("/indexes/nope", index_status), (f"{ASSETS.format(films)}/nope", asset_status)):
            refused = await client.get(path)
            assert (refused.status_code, refused.json()["code"]) == (status, code)
            assert refused.json().keys() == {"code", "message"}


async def test_pages_that_are_too_large_are_refused() -> None:
    async with twelvelabs() as (_, client):
        for query in ("page_limit=51", "page=0", "page_limit=ten", "sort_by=name", "sort_option=up"):
            refused = await client.get(f"/indexes?{query}")
            assert (refused.status_code, refused.json()["code"]) == (400, "parameter_invalid")


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "tlk_wrong"}, {"Authorization": "Bearer sk_sandbox"}])
async def test_a_wrong_key(headers: dict[str, str]) -> None:
    async with twelvelabs() as (sandbox, _), httpx.AsyncClient(headers=headers) as stranger:
        refused = await stranger.get(f"{sandbox.twelvelabs_url}/indexes")
        assert (refused.status_code, refused.json()["code"]) == (401, "api_key_invalid")
        assert "tlk_" not in refused.text


async def test_a_path_that_nobody_serves_is_refused_in_its_own_words() -> None:
    async with twelvelabs() as (sandbox, client):
        assert (await client.get("/nowhere")).json()["code"] == "resource_not_exist"
        assert (await client.post("/tasks")).status_code == 405
        assert (await client.get(f"{sandbox.url}/nowhere")).json()["success"] is False


@pytest.mark.parametrize("body", ["json", "text", "empty"])
async def test_a_day_has_only_so_many_requests(body: str) -> None:
    async with twelvelabs(answering(requests_per_day=3, rate_body=body)) as (_, client):
        answers = [await client.get("/indexes") for _ in range(4)]
        assert [one.status_code for one in answers] == [200, 200, 200, 429]
        assert [one.headers["X-Ratelimit-Remaining"] for one in answers] == ["2", "1", "0", "0"]
        assert int(answers[3].headers["X-Ratelimit-Reset"]) > 0
        assert "Retry-After" not in answers[3].headers
        if body == "empty":
            assert answers[3].content == b""
            return
        said = answers[3].json()["message"] if body == "json" else answers[3].text
        until = r"\d{4}-\d\d-\d\dT[\d:]{8}Z"
        words = rf"You have exceeded the rate limit \(3req/1day\)\. Please try again later after {until}\."
        assert re.fullmatch(words, said)


async def test_limits_may_be_kept_secret() -> None:
    async with twelvelabs(answering(requests_per_day=1, rate_headers=False)) as (_, client):
        await client.get("/indexes")
        refused = await client.get("/indexes")
        assert refused.status_code == 429
        assert not [name for name in refused.headers if "ratelimit" in name]


def _faulty(route: str, do: Any, **rule: Any) -> SandboxSettings:
    return SandboxSettings(faults=(Fault(route=route, do=do, **rule),))


async def test_rows_may_shift_between_pages() -> None:
    for shift, seen in ((1, 73), (-1, 73)):
        rule = _faulty("twelvelabs.indexed_assets.list", ShiftRows(rows=shift), nth=2)
        async with twelvelabs(rule) as (_, client):
            rows = await rows_of(client, ASSETS.format(await index_named(client, "films")))
            assert len({row["_id"] for row in rows}) == (74 if shift > 0 else seen)
            assert len(rows) == (75 if shift > 0 else seen)


async def test_an_asset_may_vanish_between_list_and_read() -> None:
    async with twelvelabs(_faulty("twelvelabs.indexed_assets.get", Vanish(), times=1)) as (_, client):
        path = ASSETS.format(await index_named(client, "films"))
        row = (await rows_of(client, path))[0]
        assert (await client.get(f"{path}/{row['_id']}")).status_code == 404
        assert len(await rows_of(client, path)) == 73
    async with twelvelabs(_faulty("twelvelabs.indexes.get", Vanish(), times=1)) as (_, client):
        films = await index_named(client, "films")
        assert (await client.get(f"/indexes/{films}")).status_code == 400
        assert len(await rows_of(client, "/indexes")) == 2


async def test_refusals_by_rule_have_the_words_and_headers_they_are_given() -> None:
    said = "You have exceeded the rate limit (100req/1day). Please try again later after 2026-12-20T00:02:50Z."
    limit = Status(status=429, message=said, headers={"X-Ratelimit-Remaining": "0"}, retry_after=7)
    async with twelvelabs(_faulty("twelvelabs.*", limit, times=1)) as (_, client):
        refused = await client.get("/indexes")
        assert refused.json() == {"code": "too_many_requests", "message": said}
        assert (refused.headers["X-Ratelimit-Remaining"], refused.headers["Retry-After"]) == ("0", "7")
    async with twelvelabs(_faulty("twelvelabs.*", Status(status=403), times=1)) as (_, client):
        assert (await client.get("/indexes")).json()["code"] == "read_not_allowed"


async def test_fields_may_be_spoiled() -> None:
    async with twelvelabs(_faulty("twelvelabs.indexed_assets.get", SetField(field="float", value="x"))) as (_, client):
        segments = (await _first_of(client))["embedding"]["video_embedding"]["segments"]
        assert {one["float"] for one in segments} == {"x"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/embed/tasks?started_at=0001-01-01T00:00:00%2B14:00", None),
        ("GET", "/embed/tasks?started_at=soon", None),
        ("POST", "{assets}", {"asset_id": 5}),
        ("POST", "{assets}", {"asset_id": "{upload}", "user_metadata": "x"}),
        ("POST", "{assets}", []),
        ("PATCH", "{assets}/{asset}", {"user_metadata": [1]}),
        ("POST", "/embed-v2", {"input_type": "text", "model_name": ["x"], "text": {"input_text": "a"}}),
        ("POST", "/embed-v2/tasks", {"input_type": "video", "model_name": "marengo3.0", "video": []}),
        ("POST", "/search", {}),
    ],
)
async def test_what_makes_no_sense_is_refused(method: str, path: str, body: Any) -> None:
    async with twelvelabs() as (sandbox, client):
        films = await index_named(client, "films")
        asset = sandbox.twelvelabs.asset_ids(films)[0]
        path = path.replace("{assets}", ASSETS.format(films)).replace("{asset}", asset)
        if isinstance(body, dict) and body.get("asset_id") == "{upload}":
            body = {**body, "asset_id": sandbox.twelvelabs.asset(asset)["asset_id"]}
        refused = await client.request(method, path, json=body)
        assert refused.status_code == 400
        assert refused.json().keys() in ({"code", "message"}, {"error"})
