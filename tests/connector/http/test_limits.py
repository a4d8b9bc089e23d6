"""Quotas: what is waited for, what ends a run, and how requests of one kind are spaced."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.connector.http.serving import QUICK, Handler, Server, client_for, in_turn, json, serving
from tests.waiting import PATIENCE
from vectorferry.connector._model._json import parse_json
from vectorferry.connector.http import UnreadableError, UnsureError
from vectorferry.connector.http._answer import LONGEST, Answer, asked_wait, wait_when_spent
from vectorferry.connector.http._pace import Pace, Timer
from vectorferry.connector.plugin import LimitReachedError

GOOD = json({"ok": 1})
DAILY = {
    "code": "too_many_requests",
    "message": ("You have exceeded the rate limit (100req/1day). Please try again later after {:%Y-%m-%dT%H:%M:%SZ}."),
}


def daily(until: datetime, **headers: str) -> web.Response:
    return json({**DAILY, "message": DAILY["message"].format(until)}, 429, **headers)


def in_hours(hours: float) -> datetime:
    return (datetime.now(UTC) + timedelta(hours=hours)).replace(microsecond=0)


async def ask(server: Server, **settings: Any) -> Any:
    async with aclosing(client_for(server.url, **settings)) as client:
        return await client.request("GET", "/thing", decode=parse_json)


async def limit_met(answer: web.Response, **settings: Any) -> LimitReachedError:
    async with serving(in_turn(answer, GOOD)) as server:
        with pytest.raises(LimitReachedError) as caught:
            await ask(server, **settings)
    assert len(server.seen) == 1
    return caught.value


def near(moment: datetime | None, expected: datetime) -> bool:
    return moment is not None and abs((moment - expected).total_seconds()) < PATIENCE


async def test_a_daily_cap_is_raised_with_the_time_that_its_message_names() -> None:
    until = in_hours(17)
    error = await limit_met(daily(until))
    assert near(error.until, until)
    assert "100req/1day" in str(error)
    assert f"until {error.until:%Y-%m-%d %H:%M:%S} UTC" in str(error)
    assert str(error).endswith(".\nRun again after that.")


async def test_a_long_retry_after_is_raised_and_not_slept_on() -> None:
    assert near((await limit_met(json({}, 429, retry_after="7200"))).until, in_hours(2))


async def test_a_distant_reset_is_raised_and_not_slept_on() -> None:
    reset = str(int(in_hours(3).timestamp()))
    assert near((await limit_met(json({}, 429, x_ratelimit_reset=reset))).until, in_hours(3))


async def test_what_is_longer_than_a_request_may_take_is_raised_whatever_else_is_set() -> None:
    await limit_met(json({}, 429, retry_after="60"), retry=QUICK.model_copy(update={"total_seconds": 5}))


@pytest.mark.parametrize("value", ["9" * 400, "inf", "99999999999", "Fri, 31 Dec 2199 23:59:59 GMT"])
async def test_an_absurd_time_is_cut(value: str) -> None:
    assert near((await limit_met(json({}, 429, retry_after=value))).until, in_hours(24 * 31))


async def test_a_near_reset_is_waited_for() -> None:
    async def busy(_: web.Request) -> web.StreamResponse:
        return json({}, 429, x_ratelimit_reset=str(int(datetime.now(UTC).timestamp()) + 2))

    async with serving(in_turn(busy, GOOD)) as server:
        assert await ask(server) == {"ok": 1}
    assert gaps(server)[0] >= 0.9


async def test_a_message_wins_over_a_retry_after_that_is_too_short() -> None:
    until = in_hours(5)
    assert near((await limit_met(daily(until, retry_after="1"))).until, until)


@pytest.mark.parametrize(
    ("headers", "body", "wait"),
    [
        ({"X-Ratelimit-Reset": "1000000090"}, b"", 90),
        ({"X-Ratelimit-Reset": "1000000090", "X-Ratelimit-Remaining": "0"}, b"", 90),
        ({"X-Ratelimit-Reset": "1000000090", "X-Ratelimit-Remaining": "41"}, b"", None),
        ({"X-Ratelimit-Reset": "1000000090", "Retry-After": "5"}, b"", 5),
        ({"X-Ratelimit-Reset": "999999000"}, b"", 0),
        ({"X-Ratelimit-Reset": "soon"}, b"", None),
        ({"X-Ratelimit-Reset": "nan"}, b"", 0),
        ({"X-Ratelimit-Reset": "9" * 400}, b"", LONGEST),
        ({}, b'{"message": "Try again after 2001-09-09T01:48:10Z."}', 90),
        ({}, b'{"error": {"message": "wait until 2001-09-09T01:48:10.000000001+00:00"}}', 90),
        ({}, b"Try again after 2001-09-09T01:48:10", 90),
        ({}, b'{"message": "Try again after 2001-99-09T01:48:10Z."}', None),
        ({}, b'{"message": "Try again later."}', None),
        ({}, b"", None),
    ],
)
def test_waits_are_read_by_the_services_own_clock(headers: dict[str, str], body: bytes, wait: float | None) -> None:
    clock = {"Date": "Sun, 09 Sep 2001 01:46:40 GMT"}  # second 1,000,000,000
    assert asked_wait(Answer(429, httpx.Headers({**headers, **clock}), body)) == wait


def test_only_an_answer_that_says_so_was_the_last_one() -> None:
    clock = format_datetime(datetime.fromtimestamp(1_000_000_000, UTC), usegmt=True)
    spent = httpx.Headers({"Date": clock, "X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": "1000000009"})
    left = httpx.Headers({"Date": clock, "X-Ratelimit-Remaining": "1", "X-Ratelimit-Reset": "1000000009"})
    assert wait_when_spent(Answer(200, spent, b"")) == 9
    assert wait_when_spent(Answer(200, left, b"")) is None
    assert wait_when_spent(Answer(200, httpx.Headers({"X-Ratelimit-Remaining": "0"}), b"")) is None


async def test_after_the_last_request_of_a_window_the_next_one_waits_and_other_kinds_do_not() -> None:
    async def last(_: web.Request) -> web.StreamResponse:
        reset = str(int(datetime.now(UTC).timestamp()) + 2)
        return json({"ok": 1}, x_ratelimit_remaining="0", x_ratelimit_reset=reset)

    async with serving(in_turn(last, GOOD)) as server, aclosing(client_for(server.url)) as client:
        await client.request("GET", "/search", kind="search", decode=parse_json)
        again = asyncio.create_task(client.request("GET", "/search/2", kind="search", decode=parse_json))
        await client.request("GET", "/list", kind="list", decode=parse_json)
        assert not again.done()
        await again
    assert [seen.path for seen in server.seen] == ["/search", "/list", "/search/2"]
    assert server.seen[2].at - server.seen[0].at >= 0.9
    assert client.usage.retries == 0


async def test_each_kind_of_request_has_its_own_pace() -> None:
    settings: dict[str, Any] = {"kinds": {"search": 600}, "concurrency": 16}
    async with serving(in_turn(GOOD)) as server, aclosing(client_for(server.url, **settings)) as client:

        async def send(kind: str) -> None:
            await asyncio.gather(*(client.request("GET", f"/{kind}", kind=kind, decode=parse_json) for _ in range(4)))

        await asyncio.gather(send("search"), send("list"))
    at = {kind: [seen.at for seen in server.seen if seen.path == f"/{kind}"] for kind in ("search", "list")}
    assert at["search"][-1] - at["search"][0] >= 0.29
    assert at["list"][-1] < at["search"][-1]


async def test_what_waits_its_turn_is_not_sent_any_more_once_the_quota_is_used_up() -> None:
    settings: dict[str, Any] = {"concurrency": 4}
    used_up = json({}, 429, retry_after="7200")
    async with serving(in_turn(used_up)) as server, aclosing(client_for(server.url, **settings)) as client:
        asked = [client.request("GET", f"/read/{number}", kind="read", decode=parse_json) for number in range(100)]
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(error, LimitReachedError) and near(error.until, in_hours(2)) for error in told)
        assert len({str(error) for error in told}) <= 4
        assert client.usage.requests == len(server.seen) <= 4
        with pytest.raises(LimitReachedError):  # another kind has a quota of its own, and so is asked
            await client.request("GET", "/list", kind="list", decode=parse_json)
    assert server.seen[-1].path == "/list"


async def test_what_waits_for_its_pace_is_not_sent_any_more_either() -> None:
    pace = Pace(1_200, {})
    with Timer().limit(60) as limit:
        await pace.admit("read", limit)
        waiting = asyncio.create_task(pace.admit("read", limit))
        await asyncio.sleep(0)
        pace.shut("read", 7_200, LimitReachedError("used up", until=in_hours(2)))
        with pytest.raises(LimitReachedError, match="used up"):
            await waiting
        pace.shut("read", 0, LimitReachedError("used up"))
        await pace.admit("read", limit)


async def test_the_overall_pace_counts_every_kind() -> None:
    settings: dict[str, Any] = {"kinds": {"search": 60_000}, "requests_per_minute": 600}
    async with serving(in_turn(GOOD)) as server, aclosing(client_for(server.url, **settings)) as client:
        kinds = ("search", "list", "search", "list")
        await asyncio.gather(*(client.request("GET", "/thing", kind=kind, decode=parse_json) for kind in kinds))
    assert server.seen[-1].at - server.seen[0].at >= 0.29


def gaps(server: Server) -> list[float]:
    return [later.at - earlier.at for earlier, later in pairwise(server.seen)]


async def _reset(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize(
    "fault",
    [_reset, json({}, 500), json({}, 504), web.Response(body=b'{"ok": ', content_type="application/json")],
    ids=["reset", "500", "504", "half a JSON"],
)
async def test_what_must_not_be_done_twice_is_not_sent_twice(fault: web.Response | Handler) -> None:
    async with serving(in_turn(fault, GOOD)) as server, aclosing(client_for(server.url)) as client:
        with pytest.raises(UnsureError, match=r"POST /assets, which may have been done[^\n]*\nIt was not sent again"):
            await client.request("POST", "/assets", decode=parse_json, form=[("method", "url")], once=True)
    assert len(server.seen) == 1


async def test_what_was_refused_for_its_pace_is_sent_again_as_it_was() -> None:
    form = [("method", "url"), ("option", "visual"), ("option", "é\r\n")]
    async with serving(in_turn(json({}, 429), GOOD)) as server, aclosing(client_for(server.url)) as client:
        assert await client.request("POST", "/assets", decode=parse_json, form=form, once=True) == {"ok": 1}
    first, second = server.seen
    assert first.body == second.body
    assert first.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    assert b'name="method"\r\n\r\nurl\r\n' in first.body
    assert first.body.count(b'name="option"') == 2


async def test_what_never_reached_anybody_is_sent_again(unused_tcp_port: int) -> None:
    async with aclosing(client_for(f"http://127.0.0.1:{unused_tcp_port}")) as client:
        with pytest.raises(UnreadableError, match="3 attempts") as caught:
            await client.request("POST", "/assets", decode=parse_json, json={}, once=True)
    assert not isinstance(caught.value, UnsureError)
