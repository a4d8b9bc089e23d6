"""Entities as two tables of metadata: what of an answer becomes a row, and what a list that is not whole leads to."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from tests.connector.http.serving import QUICK, Server, serving
from vectorferry import Summary
from vectorferry.connector.plugin import Counts, SourceError
from vectorferry.connector.sources.twelvelabs import TwelveLabsSettings, TwelveLabsSource
from vectorferry.connector.testing import MemoryDestination, sync

Row = dict[str, Any]

TIMES = {"created_at": "2026-01-09T11:11:20Z", "updated_at": "2026-01-09T11:17:15.296Z"}
PEGASUS = {"model_name": "pegasus1.2", "model_options": ["visual"]}
PEOPLE: Row = {"_id": "66c0", "name": "People", "description": "Who we film", **TIMES}
JANE: Row = {
    "_id": "66c1",
    "entity_collection_id": "66c0",
    "name": "Jane Doe",
    "description": "CEO",
    "metadata": {"team": "x"},
    "asset_ids": ["6298", "6299"],
    "status": "ready",
    **TIMES,
}


@dataclass
class Account:
    """What the service has, and what it answers instead."""

    collections: list[Row] = field(default_factory=lambda: [dict(PEOPLE)])
    entities: dict[str, list[Row]] = field(default_factory=lambda: {"66c0": [dict(JANE)]})
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By path: the status, and the service's word for why."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """By path: the counts of each page, in place of the right ones."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path in self.refused:
            status, code = self.refused[request.path]
            return web.json_response({"code": code, "message": "No."}, status=status)
        if request.path == "/indexes":
            return self._page([{"_id": "i1", "index_name": "films", "models": [PEGASUS]}], request)
        if request.path == "/entity-collections":
            return self._page(self.collections, request)
        _, kind, collection, *_ = request.path.split("/")
        return self._page(self.entities[collection] if kind == "entity-collections" else [], request)

    def _page(self, rows: list[Row], request: web.Request) -> web.Response:
        number, size = int(request.query["page"]), int(request.query["page_limit"])
        right = {"total_page": -(-len(rows) // size), "total_results": len(rows)}
        counts = {"page": number, **self.counts.get(request.path, right)}
        return web.json_response({"data": rows[(number - 1) * size : number * size], "page_info": counts})


def source_of(server: Server, **settings: Any) -> TwelveLabsSource:
    given = {"base_url": server.url, "api_key": SecretStr("tlk_1"), "retry": QUICK, **settings}
    return TwelveLabsSettings.model_validate(given).open()


async def synced(account: Account, store: MemoryDestination | None = None, **settings: Any) -> Summary:
    async with serving(account.answer) as server, aclosing(source_of(server, **settings)) as source:
        return await sync(source, [store or MemoryDestination()], name="m")


def rows(store: MemoryDestination, table: str) -> dict[str, dict[str, Any]]:
    return {key: dict(row.columns) for key, row in store.related[table].items()}


async def test_collections_and_entities_become_rows() -> None:
    store = MemoryDestination()
    summary = await synced(Account(), store)
    assert {name: told.destinations["memory"] for name, told in summary.related.items()} == {
        "indexes": Counts(inserted=1),
        "entity_collections": Counts(inserted=1),
        "entities": Counts(inserted=1),
    }
    collection, jane = rows(store, "entity_collections")["66c0"], rows(store, "entities")["66c1"]
    assert (collection["name"], collection["description"], collection["extra"]) == ("People", "Who we film", {})
    assert jane["created_at"].isoformat() == "2026-01-09T11:11:20+00:00"
    assert jane["updated_at"].isoformat() == "2026-01-09T11:17:15.296000+00:00"
    for name in ("entity_collection_id", "name", "description", "metadata", "asset_ids", "status"):
        assert jane[name] == JANE[name]
    assert jane["extra"] == {}


async def test_all_pages_of_all_collections_are_read_oldest_first() -> None:
    account, store = Account(), MemoryDestination()
    account.collections = [PEOPLE, {**PEOPLE, "_id": "66d0"}]
    account.entities = {"66c0": [{**JANE, "_id": f"a{n}"} for n in range(5)], "66d0": [{**JANE, "_id": "b"}]}
    async with serving(account.answer) as server, aclosing(source_of(server, page_size=2)) as source:
        await sync(source, [store], name="m")
        asked = [seen for seen in server.seen if seen.path.startswith("/entity")]
    assert len(rows(store, "entities")) == 6
    assert {seen.query["sort_option"] for seen in asked} == {"asc"}
    assert [seen.path for seen in asked].count("/entity-collections/66c0/entities") == 3


async def test_what_fits_no_column_is_kept_beside_them() -> None:
    account, store = Account(), MemoryDestination()
    odd = {"name": 7, "asset_ids": "none", "metadata": None, "created_at": "yesterday", "added": {"later": True}}
    account.entities["66c0"] = [{"_id": "66c1", **odd}]
    summary = await synced(account, store)
    jane = rows(store, "entities")["66c1"]
    assert summary.exit_code == 0
    assert (jane["name"], jane["asset_ids"], jane["metadata"], jane["created_at"]) == (None, [], {}, None)
    assert jane["extra"] == {"name": 7, "asset_ids": "none", "created_at": "yesterday", "added": {"later": True}}


async def test_what_is_nested_too_deeply_is_told_and_deletes_nothing() -> None:
    account, store = Account(), MemoryDestination()
    await synced(account, store)
    deep: list[Any] = []
    for _ in range(600):
        deep = [deep]
    account.entities["66c0"] = [{**JANE, "metadata": {"deep": deep}}]
    summary = await synced(account, store)
    assert "nested too deeply" in (summary.related["entities"].error or "")
    assert rows(store, "entities").keys() == {"66c1"}


async def test_an_account_without_such_lists_has_no_entities() -> None:
    account, store = Account(), MemoryDestination()
    account.refused["/entity-collections"] = (404, "not_found")
    summary = await synced(account, store)
    assert summary.exit_code == 0
    assert (store.related["entity_collections"], store.related["entities"]) == ({}, {})


async def test_a_key_that_may_not_read_them_is_told_the_way_out() -> None:
    account, store = Account(), MemoryDestination()
    account.refused["/entity-collections"] = (403, "api_allowed_for_paid_plan")
    summary = await synced(account, store)
    assert summary.exit_code == 1
    assert str(summary.related["entities"].error).endswith("To sync without entities, set source.entities to false.")
    assert summary.collections["i1"].error is None


async def test_they_can_be_left_out() -> None:
    async with serving(Account().answer) as server, aclosing(source_of(server, entities=False)) as source:
        summary = await sync(source, [MemoryDestination()], name="m")
        assert not any(seen.path.startswith("/entity") for seen in server.seen)
    assert summary.related.keys() == {"indexes"}


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"total_results": 3}, "1 entities listed, 3 announced"),
        ({}, "the service never says how many entities there are"),
    ],
)
async def test_a_list_that_is_not_known_to_be_whole_deletes_nothing(counts: dict[str, int], told: str) -> None:
    account, store = Account(), MemoryDestination()
    account.entities["66c0"] = [JANE, {**JANE, "_id": "66c2"}]
    await synced(account, store)
    account.entities["66c0"] = [{**JANE, "name": "Jane Roe"}]
    account.counts["/entity-collections/66c0/entities"] = counts
    summary = await synced(account, store)
    seen = summary.related["entities"]
    assert told in str(seen.error or seen.note)
    assert {key: row["name"] for key, row in rows(store, "entities").items()} == {
        "66c1": "Jane Roe",
        "66c2": "Jane Doe",
    }


async def test_a_collection_that_goes_meanwhile_deletes_nothing() -> None:
    account, store = Account(), MemoryDestination()
    await synced(account, store)
    account.refused["/entity-collections/66c0/entities"] = (400, "resource_not_exist")
    summary = await synced(account, store)
    assert "an entity collection went meanwhile" in str(summary.related["entities"].error)
    assert set(rows(store, "entities")) == {"66c1"}


async def test_an_id_that_no_address_can_hold_is_an_error_of_ours() -> None:
    account = Account(collections=[{**PEOPLE, "_id": ".."}])
    async with serving(account.answer) as server, aclosing(source_of(server)) as source:
        with pytest.raises(SourceError, match="cannot be part of an address"):
            [row async for row in source.related_rows(source.related_tables[2])]
