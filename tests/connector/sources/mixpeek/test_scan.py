"""Listing a collection: every asset once, and no promise where none can be given."""

from __future__ import annotations

from typing import Any

import pytest

from tests.connector.http.serving import json
from tests.connector.sources.mixpeek.worlds import page, reading, reading_sandbox
from vectorferry.connector._model._json import parse_json
from vectorferry.connector.http import RefusedError
from vectorferry.connector.plugin import AssetState, IncompleteScanError, Listing, SourceError
from vectorferry.connector.sandbox import (
    DropField,
    DuplicateRows,
    Fault,
    GeneratedCatalogue,
    MixpeekDialect,
    Reset,
    SandboxSettings,
    ShiftRows,
    Status,
    Truncate,
)
from vectorferry.connector.sources.mixpeek import MixpeekSource
from vectorferry.connector.sources.mixpeek._api import fingerprint, state_of

GENERATED = GeneratedCatalogue(assets=25, features_per_asset=1, dimension=4)


async def collect(source: MixpeekSource, collection: str, into: list[Listing]) -> None:
    async for listing in source.scan(collection):
        into.append(listing)  # noqa: PERF401 - what came before an error has to be kept


async def ids_of(source: MixpeekSource, collection: str = "c") -> list[str]:
    listings: list[Listing] = []
    await collect(source, collection, listings)
    return [listing.asset_id for listing in listings]


def row(asset_id: Any, **fields: Any) -> dict[str, Any]:
    return {"asset_id": asset_id, "collection_id": "c", "status": "DONE", **fields}


def service(*pages: Any) -> dict[str, Any]:
    return {"/collections": page(), "/assets": list(pages)}


@pytest.mark.parametrize("page_size", [1, 7, 25, 100])
@pytest.mark.parametrize("cap", [None, 5])
async def test_every_asset_is_listed_once_whatever_the_page_size(page_size: int, cap: int | None) -> None:
    settings = SandboxSettings(generate=GENERATED, mixpeek=MixpeekDialect(page_size_cap=cap))
    async with reading_sandbox(settings, page_size=page_size) as (source, sandbox):
        assert sorted(await ids_of(source, "generated")) == sorted(sandbox.mixpeek.asset_ids("generated"))


async def test_a_cap_that_the_counts_do_not_tell_of_is_survived() -> None:
    pages = [page(row(f"a{n}"), row(f"b{n}"), total=6, number=n, pages=2) for n in (1, 2, 3)]
    async with reading(service(*pages)) as (source, _):
        assert len(await ids_of(source)) == 6


@pytest.mark.parametrize("key", ["collections", "collection_ids"])
async def test_both_names_of_the_body_field_are_spoken(key: str) -> None:
    dialect = MixpeekDialect.model_validate({"body_field": key, "refuse_unknown_keys": True})
    async with reading_sandbox(SandboxSettings(generate=GENERATED, mixpeek=dialect), page_size=10) as (source, sandbox):
        assert len(await ids_of(source, "generated")) == 25
        refused = 1 if key == "collection_ids" else 0
        assert sandbox.requests.counts()["assets.list"] == 3 + refused


async def test_a_refusal_of_something_else_is_told_in_the_services_words() -> None:
    too_many = json({"detail": [{"loc": ["query", "page_size"], "msg": "at most 50", "type": "x"}]}, 422)
    async with reading({"/collections": page(), "/assets": too_many}) as (source, server):
        with pytest.raises(RefusedError, match=r"query\.page_size: at most 50"):
            await ids_of(source)
    assert [list(parse_json(seen.body)) for seen in server.seen[1:]] == [["collections"], ["collection_ids"]]


async def test_rows_of_other_collections_are_skipped() -> None:
    rows = (row("a1"), row("x", collection_id="other"), row("a2", collection_id=None))
    async with reading(service(page(*rows))) as (source, _):
        assert await ids_of(source) == ["a1", "a2"]


async def test_an_empty_collection_with_a_total_is_complete() -> None:
    async with reading(service(page(total=0, pages=0))) as (source, _):
        assert await ids_of(source) == []


@pytest.mark.parametrize(
    ("pages", "listed"),
    [
        ([page(row("a1"), total=2, pages=1), page(total=2)], ["a1"]),
        ([page(row("a1"), row("a2"), total=4, pages=2), page(row("a2"), row("a3"), total=4, pages=2, number=2)], None),
        ([page(row("a1"), total=2, pages=2), page(row("a2"), total=3, pages=2, number=2)], None),
        ([page(row("a1"), row("a1"))], ["a1"]),
        ([page(row("a1"), row(None), total=2)], ["a1"]),
        ([page(row("a1"), {}, total=2)], ["a1"]),
        ([page(row("a1"), row(7), row(""), row({}), total=4)], ["a1"]),
        ([page(row("a1"), "a2", None, 3, total=4)], ["a1"]),
        ([page(row("x", collection_id="other"))], []),
        ([{"results": []}], []),
        ([{"results": [row("a1")]}, {"results": [row("a2")]}, {"results": []}], ["a1", "a2"]),
        ([{"results": [row("a1"), row("a2")]}, {"results": [row("a2"), row("a1")]}] * 50, ["a1", "a2"]),
        ([page(row("a1"), total=1_000, pages=1_000)], ["a1"]),
    ],
    ids=[
        "too few",
        "shifted",
        "total changed",
        "too many",
        "null id",
        "no id",
        "unusable ids",
        "no objects",
        "all foreign",
        "empty without a total",
        "no total anywhere",
        "the same rows for ever in another order",
        "the same page for ever",
    ],
)
async def test_no_promise_is_made_where_none_can_be(pages: list[Any], listed: list[str] | None) -> None:
    listings: list[Listing] = []
    async with reading(service(*pages)) as (source, _):
        with pytest.raises(IncompleteScanError, match=r"so nothing is deleted"):
            await collect(source, "c", listings)
    assert listed is None or [listing.asset_id for listing in listings] == listed


async def test_a_list_that_never_says_how_long_it_is_ends_where_nothing_new_comes() -> None:
    pages = [{"results": [row("a1"), row("a2")]}, {"results": [row("a2"), row("a1")]}] * 50
    async with reading(service(*pages)) as (source, server):
        with pytest.raises(IncompleteScanError, match="never says how many") as caught:
            await ids_of(source)
    assert caught.value.unknowable
    assert [seen.path for seen in server.seen].count("/assets") == 2


async def test_ids_that_no_address_can_hold_are_listed_like_any_other() -> None:
    odd = [".", "..", "x" * 2_001, "\ud800", "a\x00"]
    async with reading(service(page(*map(row, odd)))) as (source, _):
        assert await ids_of(source) == odd


async def test_an_asset_nested_too_deeply_to_compare_counts_as_changed_each_time() -> None:
    deep: Any = 1
    for _ in range(900):
        deep = {"k": deep}
    first: list[Listing] = []
    second: list[Listing] = []
    async with reading(service(page(row("a1", metadata=deep), row("a2")))) as (source, _):
        await collect(source, "c", first)
        await collect(source, "c", second)
    assert [listing.asset_id for listing in first] == ["a1", "a2"]
    assert [one == other for one, other in zip(first, second, strict=True)] == [False, True]


@pytest.mark.parametrize("rows", [1, -1])
async def test_rows_that_shift_between_pages_are_noticed(rows: int) -> None:
    fault = Fault(route="assets.list", do=ShiftRows(rows=rows), nth=2, until=2)
    async with reading_sandbox(SandboxSettings(generate=GENERATED, faults=(fault,)), page_size=10) as (source, _):
        with pytest.raises(IncompleteScanError):
            await ids_of(source, "generated")


async def test_rows_listed_twice_are_given_once() -> None:
    fault = Fault(route="assets.list", do=DuplicateRows())
    async with reading_sandbox(SandboxSettings(generate=GENERATED, faults=(fault,)), page_size=10) as (source, _):
        ids = await ids_of(source, "generated")
    assert len(ids) == len(set(ids)) == 25


@pytest.mark.parametrize("fault", [Reset(), Reset(when="midway"), Truncate(), Truncate(length="short"), Status()])
async def test_passing_faults_do_no_harm(fault: Any) -> None:
    faults = (Fault(route="assets.list", do=fault, nth=2, until=3),)
    async with reading_sandbox(SandboxSettings(generate=GENERATED, faults=faults), page_size=10) as (source, _):
        assert len(await ids_of(source, "generated")) == 25
        assert source.usage.retries == 2


async def test_answers_without_results_are_no_empty_list() -> None:
    faults = (Fault(route="assets.list", do=DropField(field="results")),)
    async with reading_sandbox(SandboxSettings(generate=GENERATED, faults=faults)) as (source, _):
        with pytest.raises(SourceError, match="no list of results"):
            await ids_of(source, "generated")


async def test_an_unchanged_catalogue_is_listed_with_the_same_fingerprints() -> None:
    async with reading_sandbox() as (source, sandbox):
        collection = (await source.collections())[0]
        first: list[Listing] = []
        second: list[Listing] = []
        await collect(source, collection, first)
        await collect(source, collection, second)
        assert first == second

        edited = sandbox.mixpeek.asset_ids(collection)[0]
        sandbox.mixpeek.edit_metadata(edited, {"author": "somebody else"})
        third: list[Listing] = []
        await collect(source, collection, third)
        assert {listing.asset_id for listing in set(third) - set(first)} == {edited}


def test_what_lasts_makes_the_fingerprint() -> None:
    signed = "https://bucket/preview.jpg?X-Amz-Date=1&X-Amz-Signature=aa"
    asset = row("a1", metadata={"preview_url": signed, "n": 1}, score=0.1, url=signed, preview_url=None)
    same = row("a1", metadata={"n": 1, "preview_url": signed.replace("aa", "bb")}, score=0.2, url=None)
    assert fingerprint(asset) == fingerprint(same)
    assert fingerprint(asset) != fingerprint({**asset, "metadata": {"preview_url": signed, "n": 2}})
    assert fingerprint(asset) != fingerprint({**asset, "status": "FAILED"})
    assert fingerprint({"n": 2**80}) != fingerprint({"n": 2**80 + 1})


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("DONE", AssetState.READY),
        ("done", AssetState.READY),
        ("COMPLETED", AssetState.READY),
        ("SKIPPED", AssetState.READY),
        (None, AssetState.READY),
        ("FAILED", AssetState.FAILED),
        ("error", AssetState.FAILED),
        ("CANCELLED", AssetState.FAILED),
        ("PENDING", AssetState.PENDING),
        ("PROCESSING", AssetState.PENDING),
        ("DOWNLOADING", AssetState.PENDING),
        ("something new", AssetState.PENDING),
        ("", AssetState.PENDING),
        (5, AssetState.PENDING),
    ],
)
def test_only_finished_assets_are_ready(status: Any, state: AssetState) -> None:
    assert state_of(status) is state
