"""The change feed: nothing is listed while nothing happens, and everything is whenever it cannot be trusted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from tests.connector.http.serving import serving
from vectorferry.connector._config._settings import IncrementalScans
from vectorferry.connector.plugin import DeleteGuard
from vectorferry.connector.sandbox import (
    Fault,
    GeneratedDocuments,
    MixpeekDocumentsDialect,
    Sandbox,
    SandboxSettings,
    SetField,
    Status,
)
from vectorferry.connector.sources.mixpeek_documents import MixpeekDocumentsSettings
from vectorferry.connector.sources.mixpeek_documents._feed import ChangeFeed, Mark, Position
from vectorferry.connector.testing import MemoryDestination, sync

from .worlds import QUICK, settings_for

TWO = ("col_one", "col_two")
NEVER = "no earlier run has left this collection wholly up to date"
CHANGED = "the change feed has events since the last run"


@dataclass
class Runs:
    """Syncs of two collections, each by a source of its own as if in another process."""

    sandbox: Sandbox
    settings: dict[str, Any] = field(default_factory=dict)
    store: MemoryDestination = field(default_factory=MemoryDestination)
    full_every: int = 24

    async def run(self, **settings: Any) -> dict[str, int]:
        """One more; how often each route was asked."""
        self.sandbox.requests.reset()
        source = settings_for(self.sandbox, **{**self.settings, **settings}).open()
        try:
            summary = await sync(
                source,
                [self.store],
                name="m",
                deletes=DeleteGuard(max_share=1),
                incremental=IncrementalScans(full_every=self.full_every),
            )
        finally:
            await source.aclose()
        assert summary.exit_code == 0
        self.scans = {name: (each.scan, each.why_full) for name, each in summary.collections.items()}
        return self.sandbox.requests.counts()

    @property
    def held(self) -> int:
        return sum(map(len, self.store.assets.values()))


@asynccontextmanager
async def runs(dialect: MixpeekDocumentsDialect | None = None, **settings: Any) -> AsyncIterator[Runs]:
    made = GeneratedDocuments(documents=12, dimension=4, collections=("one", "two"))
    served = SandboxSettings(generate_documents=made, documents=dialect or MixpeekDocumentsDialect())
    async with Sandbox(served) as sandbox:
        yield Runs(sandbox, settings)


async def test_while_nothing_happens_one_request_is_made_for_all_collections() -> None:
    async with runs() as each:
        first = await each.run(collections=TWO)
        assert first["documents.events"] == 1
        for configured in (TWO, ("one", "two"), ("col_one", "two"), ()):
            assert await each.run(collections=configured) == {"documents.events": 1}
            assert each.scans == dict.fromkeys(TWO, ("incremental", None))
        assert each.held == 12


async def test_a_collection_that_is_new_or_not_known_is_looked_for() -> None:
    async with runs(feed_delay_minutes=0) as each:
        await each.run(collections=("one",))
        counts = await each.run(collections=("one", "two"))
        assert counts["documents.collections.list"] == 1
        assert each.scans == {"col_one": ("incremental", None), "col_two": ("full", NEVER)}
        assert await each.run() == {"documents.events": 1}
        each.sandbox.documents.add_collection("generated", "three", {})
        each.sandbox.documents.put_document("three", "d", text="new")
        await each.run()
        assert each.scans.keys() == {*TWO, "three"}


async def test_without_the_feed_lists_are_all_that_is_asked_for() -> None:
    async with runs(follow_events=False) as each:
        await each.run()
        assert await each.run() == {"documents.collections.list": 1, "documents.list": 2}


async def test_any_event_has_everything_listed_and_what_changed_read() -> None:
    async with runs(feed_delay_minutes=0) as each:
        await each.run()
        editor = each.sandbox.documents
        changed, gone, *_ = editor.asset_ids("one")
        editor.edit_metadata(changed, {"author": "somebody"})
        editor.remove_asset(gone)
        counts = await each.run()
        assert each.scans["col_one"] == ("full", CHANGED)
        assert each.held == 11, "what is gone is found at once"
        # one list of each collection, and one more of that with something missing
        assert (counts["documents.list"], counts["documents.vectors"]) == (3, 1)
        assert counts["documents.events"] == 1
        assert each.store.assets["col_one"][changed].metadata["author"] == "somebody"
        assert "documents.list" not in await each.run()


async def test_what_happened_just_now_is_listed_again_since_documents_may_show_it_late() -> None:
    async with runs() as each:
        each.sandbox.documents.tell("generated", "document.updated", at=datetime.now(UTC) - timedelta(hours=1))
        await each.run()
        assert "documents.list" not in await each.run()
        each.sandbox.documents.tell("generated", "something.else")
        for _ in range(2):
            assert "documents.list" in await each.run()
        each.settings["feed_delay_minutes"] = 0
        assert "documents.list" in await each.run()
        assert "documents.list" not in await each.run()


@pytest.mark.parametrize("expired", ["refused", "restarted"])
async def test_an_expired_cursor_has_everything_listed(expired: str) -> None:
    dialect = MixpeekDocumentsDialect.model_validate({"events_kept": 1, "expired_cursor": expired})
    async with runs(dialect) as each:
        await each.run()
        for _ in range(3):
            each.sandbox.documents.tell("generated", "document.updated", at=datetime.now(UTC) - timedelta(hours=1))
        changed = each.sandbox.documents.asset_ids("one")[0]
        each.sandbox.documents.edit_metadata(changed, {"author": "somebody"}, touch=False)
        each.sandbox.documents.put_internal(changed, "updated_at", "2026-01-01T00:00:00Z")
        assert "documents.list" in await each.run()
        assert each.store.assets["col_one"][changed].metadata["author"] == "somebody"
        assert "documents.list" not in await each.run()


@pytest.mark.parametrize(
    "fault",
    [
        Status(status=403),
        Status(status=404),
        Status(status=500),
        SetField(field="next_cursor", value="elsewhere"),
        SetField(field="has_more", value="perhaps"),
        SetField(field="has_more", value=True),
        SetField(field="results", value=None),
    ],
    ids=lambda fault: f"{fault.kind} {getattr(fault, 'status', '') or getattr(fault, 'field', '')}",
)
async def test_a_feed_that_does_not_tell_has_everything_listed(fault: Any) -> None:
    async with runs() as each:
        await each.run()
        each.sandbox.faults.add(Fault(route="documents.events", do=fault))
        changed = each.sandbox.documents.asset_ids("one")[0]
        each.sandbox.documents.put_internal(changed, "updated_at", "2026-01-01T00:00:00Z")
        assert "documents.list" in await each.run()
        assert each.scans["col_one"][0] == "full"
        each.sandbox.faults.clear()
        await each.run()
        assert "documents.list" not in await each.run()


async def test_a_feed_that_stays_silent_is_not_believed_for_ever() -> None:
    async with runs() as each:
        each.full_every = 3
        await each.run()
        changed = each.sandbox.documents.asset_ids("one")[0]
        each.sandbox.documents.edit_metadata(changed, {"author": "somebody"}, touch=False)
        each.sandbox.documents.put_internal(changed, "updated_at", "2026-01-01T00:00:00Z")
        assert ["documents.list" in await each.run() for _ in range(4)] == [False, False, True, False]
        assert each.store.assets["col_one"][changed].metadata["author"] == "somebody"


async def test_events_of_other_namespaces_are_none() -> None:
    async with runs() as each:
        await each.run()
        each.sandbox.documents.add_namespace("other")
        each.sandbox.documents.tell("other", "document.updated")
        assert "documents.list" not in await each.run()


async def test_a_long_feed_is_walked_over_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("EVENTS_PER_PAGE", 2), ("MOST_PAGES", 2)):
        monkeypatch.setattr(f"vectorferry.connector.sources.mixpeek_documents._feed.{name}", value)
    async with runs() as each:
        for _ in range(8):
            each.sandbox.documents.tell("generated", "document.updated", at=datetime.now(UTC) - timedelta(hours=1))
        # ten events, four of which are walked over in a run
        assert "documents.vectors" in await each.run()
        assert ["documents.list" in await each.run() for _ in range(3)] == [True, True, False]


async def test_a_feed_that_was_not_looked_at_for_as_long_as_it_keeps_events_is_not_believed() -> None:
    """It says nothing of events that have gone, as if nothing had happened."""
    days = 90 * 86_400
    async with runs() as each:
        await each.run()
        for collection in TWO:
            cursor = each.store.cursor(collection)
            assert cursor is not None
            mark = Mark.read(cursor.since)
            assert mark is not None
            long_ago = replace(mark, position=replace(mark.position, at=mark.position.at - days)).text()
            each.store.record_cursor(collection, replace(cursor, since=long_ago), None)
        assert "documents.list" in await each.run()
        assert each.scans["col_one"][1] == "the change feed was last looked at twelve weeks ago or earlier"
        assert "documents.list" not in await each.run()


async def test_collections_that_reached_the_same_place_at_different_times_take_one_request() -> None:
    async with runs() as each:
        await each.run()
        cursor = each.store.cursor("col_one")
        assert cursor is not None
        mark = Mark.read(cursor.since)
        assert mark is not None
        earlier = replace(mark, position=replace(mark.position, at=mark.position.at - 60)).text()
        each.store.record_cursor("col_one", replace(cursor, since=earlier), None)
        assert await each.run() == {"documents.events": 1}


async def position_by(date: str, event: Any) -> Position | None:
    """Where a feed with one event is followed from, whose answer has this date."""

    async def answered(_: web.Request) -> web.StreamResponse:
        page = {"results": [{"seq": 1, "cursor": "c1", "created_at": event}], "next_cursor": "c1", "has_more": False}
        return web.json_response(page, headers={"Date": date})

    async with serving(answered) as server:
        settings = MixpeekDocumentsSettings(base_url=server.url, api_key=SecretStr("sk_1"), namespace="n", retry=QUICK)
        source = settings.open()
        try:
            return await ChangeFeed(source._api, 10).position()
        finally:
            await source.aclose()


@pytest.mark.parametrize(("minutes", "passed_over"), [(-1, False), (-11, True)])
@pytest.mark.parametrize("ahead", [-60, 60], ids=["clock here ahead", "clock here behind"])
async def test_how_old_an_event_is_goes_by_the_clock_of_the_service(
    ahead: int, minutes: int, passed_over: bool
) -> None:
    there = datetime.now(UTC) + timedelta(minutes=ahead)
    event = (there + timedelta(minutes=minutes)).isoformat()
    assert (await position_by(format_datetime(there, usegmt=True), event) is not None) == passed_over


@pytest.mark.parametrize(
    ("date", "passed_over"),
    [("Fri, 31 Dec 9999 23:59:59 GMT", True), ("Mon, 01 Jan 0001 00:00:00 GMT", False), ("never", True)],
)
async def test_a_date_that_no_clock_shows_harms_nothing(date: str, passed_over: bool) -> None:
    assert (await position_by(date, "2026-01-02T03:04:05Z") is not None) == passed_over


async def test_a_mark_stays_as_it_is_for_a_week_while_nothing_happens() -> None:
    """Whatever compares two stores compares their cursors, and an unchanged run has nothing to write."""
    dates = ["Fri, 27 Nov 2026 00:00:00 GMT", "Wed, 02 Dec 2026 23:59:59 GMT", "Thu, 03 Dec 2026 00:00:00 GMT"]
    friday, wednesday, thursday = [await position_by(date, "2026-01-02T03:04:05Z") for date in dates]
    assert friday is not None
    assert wednesday is not None
    assert thursday is not None
    assert friday.at == wednesday.at < thursday.at
