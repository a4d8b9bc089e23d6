"""Which collections a source reads, and where the API is found."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from tests.connector.http.serving import in_turn, json, serving
from tests.connector.sources.mixpeek.worlds import page, reading, reading_sandbox
from vectorferry.connector.plugin import ConfigurationError, CredentialsError, SourceError
from vectorferry.connector.sandbox import Fault, ForeignNextPage, MixpeekDialect, SandboxSettings

THREE = [
    {"collection_id": "col_2", "collection_name": "holidays", "count": 1},
    {"collection_id": "col_1", "collection_name": "twins", "count": 1},
    {"collection_id": "col_3", "collection_name": "twins", "count": 1},
]


async def test_all_of_them_when_none_is_named() -> None:
    async with reading({"/collections": page(*THREE)}) as (source, _):
        assert await source.collections() == ["col_1", "col_2", "col_3"]


async def test_named_ones_by_id_or_name_in_the_configured_order() -> None:
    wanted = ("col_3", "holidays", "col_2")
    async with reading({"/collections": page(*THREE)}, collections=wanted) as (source, _):
        assert await source.collections() == ["col_3", "col_2"]


async def test_an_unknown_name_lists_what_there_is() -> None:
    async with reading({"/collections": page(*THREE)}, collections=("beach",)) as (source, _):
        with pytest.raises(ConfigurationError, match=r"no collection beach; .*holidays \(col_2\), twins \(col_1\)"):
            await source.collections()


async def test_a_name_that_two_collections_have_asks_for_an_id() -> None:
    async with reading({"/collections": page(*THREE)}, collections=("twins",)) as (source, _):
        with pytest.raises(ConfigurationError, match="col_1, col_3"):
            await source.collections()


async def test_every_page_is_read_by_number_and_on_the_own_host() -> None:
    rows = [page(row, total=3, number=n, pages=3) for n, row in enumerate(THREE, start=1)]
    async with serving(in_turn(json({}))) as other:
        for one in rows:
            one["pagination"]["next_page"] = f"{other.url}/collections?page=2"
        async with reading({"/collections": rows}, page_size=1) as (source, server):
            assert len(await source.collections()) == 3
    assert [seen.query for seen in server.seen] == [{"page": str(n), "page_size": "1"} for n in (1, 2, 3)]
    assert other.seen == []


async def test_a_foreign_next_page_of_the_sandbox_is_not_followed() -> None:
    async with serving(in_turn(json({}))) as other:
        fault = Fault(route="*", do=ForeignNextPage(origin=other.url))
        async with reading_sandbox(SandboxSettings(faults=(fault,)), page_size=1) as (source, sandbox):
            ids = await source.collections()
            assert sorted(ids) == sorted(sandbox.mixpeek.collection_ids())
    assert other.seen == []


@pytest.mark.parametrize(("prefixes", "paths"), [("none", 1), ("v1", 2), ("both", 1)])
async def test_auto_finds_the_prefix_once(prefixes: str, paths: int) -> None:
    dialect = MixpeekDialect.model_validate({"prefixes": prefixes})
    async with reading_sandbox(SandboxSettings(mixpeek=dialect)) as (source, sandbox):
        collections = await source.collections()
        assert [listing async for listing in source.scan(collections[0])]
        assert sandbox.requests.counts().get("unknown", 0) == paths - 1


async def test_a_scan_alone_finds_the_prefix_too() -> None:
    async with reading_sandbox(SandboxSettings(mixpeek=MixpeekDialect(prefixes="v1"))) as (source, sandbox):
        assert [listing async for listing in source.scan(sandbox.mixpeek.collection_ids()[0])]


async def test_a_service_without_collections_is_named() -> None:
    async with reading({}) as (source, server):
        with pytest.raises(SourceError, match=f"{server.host}.*base_url"):
            await source.collections()


async def test_a_wrong_namespace_is_told_in_the_services_words() -> None:
    gone = json({"error": {"message": "Namespace nope not found"}}, 404)
    async with reading({"/collections": gone, "/v1/collections": gone}, namespace="nope") as (source, _):
        with pytest.raises(SourceError, match=r"Namespace nope not found.*source\.namespace"):
            await source.collections()


async def test_no_collection_at_all_is_no_success() -> None:
    async with reading({"/collections": page()}) as (source, _):
        with pytest.raises(SourceError, match=r"lists no collection; check source\.namespace and the key"):
            await source.collections()


INCOMPLETE = [
    [page(*THREE[:2], total=3)],
    [page(*THREE, {"collection_id": 7}, total=4)],
    [page(THREE[0], total=3, pages=2), page(THREE[1], total=2, pages=2)] * 2,
]
KINDS = ["one missing", "one unusable", "total changed"]


@pytest.mark.parametrize("answers", INCOMPLETE, ids=KINDS)
async def test_an_incomplete_list_is_asked_for_once_more_and_then_refused(answers: list[Any]) -> None:
    async with reading({"/collections": answers}) as (source, _):
        with pytest.raises(SourceError, match=r"did not list its collections completely: .+ source\.collections"):
            await source.collections()


async def test_a_list_that_is_complete_the_second_time_is_taken() -> None:
    shifted = [page(*THREE[:2], total=3, pages=1), page(total=3), page(*THREE)]
    async with reading({"/collections": shifted}) as (source, _):
        assert await source.collections() == ["col_1", "col_2", "col_3"]


async def test_ids_that_are_in_an_incomplete_list_need_no_more() -> None:
    async with reading({"/collections": INCOMPLETE[1]}, collections=("col_3",)) as (source, _):
        assert await source.collections() == ["col_3"]


async def test_a_refused_key_says_where_it_is_set() -> None:
    async with reading_sandbox(api_key=SecretStr("sk_wrong")) as (source, _):
        with pytest.raises(CredentialsError, match=r"source.api_key \(by default \$\{MIXPEEK_API_KEY\}\)"):
            await source.collections()


async def test_the_namespace_travels_as_a_header() -> None:
    async with reading({"/collections": page(*THREE)}, namespace="ns_films") as (source, server):
        await source.collections()
    assert server.seen[0].headers["X-Namespace"] == "ns_films"
