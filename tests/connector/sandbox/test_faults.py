"""Every fault is what it says, hits whom it should, and ends when it should."""

from __future__ import annotations

import asyncio
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import orjson
import pytest

from tests.connector.sandbox.serving import EXAMPLE_TEXT, EXAMPLE_TEXT_FEATURE, faulty, served
from tests.waiting import happened
from vectorferry.connector.sandbox import (
    DropField,
    DuplicateRows,
    Fault,
    Faults,
    ForeignNextPage,
    Garbage,
    Html,
    OnePageLess,
    Oversized,
    Redirect,
    Reset,
    SetField,
    ShiftRows,
    Shorten,
    Stall,
    Status,
    Truncate,
    Vanish,
)
from vectorferry.connector.sandbox._faults import Action, spoil
from vectorferry.connector.sandbox._http import json_reply

FEATURE = f"/features/{EXAMPLE_TEXT_FEATURE}?include_vectors=true"
ASSETS: Any = {"json": {"collections": ["quickstart"]}}


async def _statuses(client: httpx.AsyncClient, count: int) -> list[int]:
    return [(await client.get("/collections")).status_code for _ in range(count)]


@pytest.mark.parametrize("status", [401, 403, 404, 408, 429, 500, 502, 503, 504])
async def test_an_error_status_comes_in_the_apis_own_words(status: int) -> None:
    async with served(faulty(Fault(do=Status(status=status)))) as (_, client):
        answer = await client.get(FEATURE)
        assert answer.status_code == status
        assert answer.json()["status"] == status
        assert "Retry-After" not in answer.headers


@pytest.mark.parametrize(("body", "start"), [("text", "Fault rule: status 503"), ("empty", ""), ("html", "<html>")])
async def test_error_bodies_vary(body: Any, start: str) -> None:
    async with served(faulty(Fault(do=Status(status=503, body=body)))) as (_, client):
        answer = await client.get(FEATURE)
        assert answer.text.startswith(start)
        assert bool(answer.text) == bool(start)


async def test_retry_after_is_seconds_or_a_date() -> None:
    seconds = Fault(do=Status(status=429, retry_after=7), times=1)
    date = Fault(do=Status(status=503, retry_after=90, retry_after_form="date"), times=1)
    async with served(faulty(seconds, date)) as (_, client):
        assert (await client.get(FEATURE)).headers["Retry-After"] == "7"
        answer = await client.get(FEATURE)
        wait = parsedate_to_datetime(answer.headers["Retry-After"]) - parsedate_to_datetime(answer.headers["Date"])
        assert 85 <= wait.total_seconds() <= 91


def test_a_retry_after_of_zero_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="retry_after"):
        Status(status=429, retry_after=0)


async def test_nth_until_and_times_choose_the_requests() -> None:
    async with served(faulty(Fault(do=Status(status=500), nth=2, until=4))) as (_, client):
        assert await _statuses(client, 5) == [200, 500, 500, 500, 200]
    async with served(faulty(Fault(do=Status(status=500), nth=3, times=1))) as (sandbox, client):
        assert await _statuses(client, 5) == [200, 200, 500, 200, 200]
        assert sandbox.faults.hits() == [1]


async def test_a_probability_is_seeded() -> None:
    seen = []
    for seed in (1, 1, 2):
        async with served(faulty(Fault(do=Status(status=500), probability=0.5, seed=seed))) as (_, client):
            seen.append(await _statuses(client, 30))
    assert seen[0] == seen[1] != seen[2]
    assert set(seen[0]) == {200, 500}


@pytest.mark.parametrize(
    ("route", "hit"),
    [
        ("features.get", True),
        ("features.*", True),
        ("*", True),
        (r"/features/98b6", True),
        (r"/v1/features", False),
        ("assets.*", False),
        ("features", False),
    ],
)
async def test_a_rule_is_about_a_name_or_a_path(route: str, hit: bool) -> None:
    async with served(faulty(Fault(route=route, do=Status(status=500)))) as (_, client):
        assert (await client.get(FEATURE)).status_code == (500 if hit else 200)


async def test_the_first_rule_that_fires_decides() -> None:
    rules = (Fault(do=Status(status=502), times=1), Fault(do=Status(status=503), times=1))
    async with served(faulty(*rules)) as (_, client):
        assert await _statuses(client, 3) == [502, 503, 200]


@pytest.mark.parametrize(
    "action", [Reset(when="before"), Reset(when="midway"), Truncate(length="short"), Truncate(length="short", keep=0)]
)
async def test_broken_connections_are_noticed(action: Any) -> None:
    async with served(faulty(Fault(do=action, times=1))) as (_, client):
        with pytest.raises(httpx.TransportError):
            await client.get(FEATURE)
        assert (await client.get(FEATURE)).status_code == 200


async def test_an_honestly_shortened_answer_is_no_json() -> None:
    async with served(faulty(Fault(do=Truncate(keep=0.7), times=1))) as (_, client):
        answer = await client.get(FEATURE)
        assert answer.status_code == 200
        assert int(answer.headers["Content-Length"]) == len(answer.content)
        with pytest.raises(ValueError):
            answer.json()


@pytest.mark.parametrize("when", ["before", "midway"])
async def test_a_stalled_answer_times_out_or_comes_whole(when: Any) -> None:
    async with served(faulty(Fault(do=Stall(seconds=0.3, when=when)))) as (_, client):
        with pytest.raises(httpx.ReadTimeout):
            await client.get(FEATURE, timeout=0.05)
        assert len((await client.get(FEATURE)).json()["vectors"]) == 3


@pytest.mark.parametrize("when", ["before", "midway"])
async def test_a_stalled_answer_comes_when_the_rules_are_cleared(when: Any) -> None:
    async with served(faulty(Fault(do=Stall(seconds=3_600, when=when)))) as (sandbox, client):
        answer = asyncio.create_task(client.get(FEATURE, timeout=None))
        await happened(lambda: sandbox.faults.hits() == [1])
        sandbox.faults.clear()
        assert (await answer).status_code == 200
        assert asyncio.get_running_loop().time() < 3_600


@pytest.mark.parametrize(("action", "kind"), [(Html(), "text/html"), (Garbage(), "application/json")])
async def test_html_and_garbage_are_no_json(action: Any, kind: str) -> None:
    async with served(faulty(Fault(do=action))) as (_, client):
        answer = await client.get(FEATURE)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == kind
        with pytest.raises(ValueError):
            answer.json()


async def test_fields_change_their_type_or_go_missing() -> None:
    retyped = Fault(route="features.get", do=SetField(field="multimodal-v1", value="not a vector"))
    dropped = Fault(route="assets.features", do=DropField(field="feature_id"))
    async with served(faulty(retyped, dropped)) as (_, client):
        assert (await client.get(FEATURE)).json()["vectors"]["multimodal-v1"] == "not a vector"
        features = (await client.get(f"/assets/{EXAMPLE_TEXT}/features")).json()["features"]
        assert "feature_id" not in features["text"][0]


async def test_the_first_row_comes_twice() -> None:
    async with served(faulty(Fault(do=DuplicateRows()))) as (_, client):
        ids = [row["asset_id"] for row in (await client.post("/assets", **ASSETS)).json()["results"]]
        assert len(ids) == 11
        assert ids[0] == ids[-1]


@pytest.mark.parametrize("rows", [2, -2])
async def test_rows_move_between_pages(rows: int) -> None:
    async with served(faulty(Fault(do=ShiftRows(rows=rows), nth=2))) as (sandbox, client):
        first, second = [(await client.post(f"/assets?page={page}", **ASSETS)).json() for page in (1, 2)]
        found = [row["asset_id"] for row in (*first["results"], *second["results"])]
        every = sandbox.mixpeek.asset_ids("quickstart")
        assert len(set(found)) == (18 if rows > 0 else 20)
        assert (set(every[10:12]) <= set(found)) == (rows > 0)


async def test_an_asset_vanishes_between_list_and_read() -> None:
    async with served(faulty(Fault(route="assets.features", do=Vanish(), times=1))) as (sandbox, client):
        asset_id = (await client.post("/assets", **ASSETS)).json()["results"][0]["asset_id"]
        assert (await client.get(f"/assets/{asset_id}/features")).status_code == 404
        assert asset_id not in sandbox.mixpeek.asset_ids()
        assert (await client.post("/assets", **ASSETS)).json()["pagination"]["total"] == 74


async def test_redirects_and_next_pages_lead_elsewhere() -> None:
    redirect = Fault(route="features.get", do=Redirect(location="http://127.0.0.1:1/elsewhere"))
    foreign = Fault(route="assets.list", do=ForeignNextPage(origin="http://127.0.0.1:1"))
    async with served(faulty(redirect, foreign)) as (_, client):
        answer = await client.get(FEATURE)
        assert (answer.status_code, answer.headers["Location"]) == (302, "http://127.0.0.1:1/elsewhere")
        pagination = (await client.post("/assets", **ASSETS)).json()["pagination"]
        assert pagination["next_page"] == "http://127.0.0.1:1/assets?page=2&page_size=10"


async def test_an_oversized_answer_is_still_right_and_an_endless_one_can_be_left() -> None:
    large = Fault(do=Oversized(bytes=300_000), times=1)
    async with served(faulty(large, Fault(do=Oversized()))) as (_, client):
        answer = await client.get(FEATURE)
        assert len(answer.content) > 300_000
        assert answer.json()["feature_id"] == EXAMPLE_TEXT_FEATURE
        read = 0
        async with client.stream("GET", FEATURE) as endless:
            async for chunk in endless.aiter_bytes():
                read += len(chunk)
                if read > 5_000_000:
                    break
        assert read > 5_000_000


async def test_rules_are_added_and_cleared_over_http() -> None:
    rules = [{"route": "collections.*", "do": {"kind": "status", "status": 503}}]
    async with served() as (_, client):
        assert (await client.post("/_sandbox/faults", json=rules)).status_code == 200
        assert await _statuses(client, 1) == [503]
        assert (await client.get("/_sandbox/faults")).json() == {"hits": [1]}
        await client.delete("/_sandbox/faults")
        assert await _statuses(client, 1) == [200]


async def test_a_rule_that_is_none_is_refused() -> None:
    async with served() as (_, client):
        refused = await client.post("/_sandbox/faults", json=[{"do": {"kind": "status", "status": 200}}])
        assert refused.status_code == 422
        assert await _statuses(client, 1) == [200]


def test_lists_and_objects_can_lack_their_end_and_pages_be_left_out_without_a_sign() -> None:
    page = {"results": [1, 2, 3], "pagination": {"total": 7, "total_pages": 3, "page_size": 3}}
    assert _spoilt(Shorten(field="results"), page)["results"] == [1]
    assert _spoilt(Shorten(field="vectors"), {"vectors": {"a": [1.0], "b": [2.0]}}) == {"vectors": {"a": [1.0]}}
    assert _spoilt(OnePageLess(), page)["pagination"] == {"total": 6, "total_pages": 2, "page_size": 3}
    one = {"total_results": 2, "total_page": 1, "limit_per_page": 5}
    assert _spoilt(OnePageLess(), one) == one


def _spoilt(action: Action, answer: dict[str, Any]) -> dict[str, Any]:
    spoilt: dict[str, Any] = orjson.loads(spoil(action, json_reply(answer), Faults().stall).body)
    return spoilt
