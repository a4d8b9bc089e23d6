"""Pulling many assets: concurrent, bounded, and unharmed by the few that cannot be read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import web

from tests.connector.http.serving import client_tasks, in_turn, json, serving
from tests.connector.sources.mixpeek.worlds import NO_COLLECTIONS, listings_of, pulled, reading_sandbox, source_for
from tests.examples import family
from tests.waiting import happened
from vectorferry.connector.http import RetryPolicy
from vectorferry.connector.plugin import Asset, CredentialsError, Listing, Reason, Rejected, SourceError
from vectorferry.connector.sandbox import (
    Fault,
    Garbage,
    GeneratedCatalogue,
    Html,
    MixpeekDialect,
    Oversized,
    Redirect,
    Reset,
    SandboxSettings,
    Stall,
    Status,
    Truncate,
    Vanish,
)

GENERATED = GeneratedCatalogue(assets=12, features_per_asset=4, dimension=8)
ROUTES = ["assets.features", "features.get"]


def assets_of(results: list[Asset | Rejected]) -> list[Asset]:
    return [result for result in results if isinstance(result, Asset)]


@pytest.mark.parametrize("concurrency", [1, 3, 64])
async def test_every_asset_comes_with_all_its_features_and_vectors(concurrency: int) -> None:
    async with reading_sandbox(SandboxSettings(generate=GENERATED), concurrency=concurrency) as (source, sandbox):
        ids = sandbox.mixpeek.asset_ids()
        results = assets_of(await pulled(source, *ids))
        assert [asset.asset_id for asset in results] == sorted(ids)
        for asset in results:
            assert {feature.feature_id for feature in asset.features} == set(
                sandbox.mixpeek.feature_ids(asset.asset_id)
            )
            assert all(len(feature.vectors["multimodal-v1"]) == 8 for feature in asset.features)  # type: ignore[arg-type]
            assert asset.rejected == ()
        assert source.usage.requests == 1 + 12 + 48


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """What the default dialect says of every fourth asset."""
    return asyncio.run(_everything(SandboxSettings()))


@pytest.mark.parametrize(
    "dialect",
    family(
        [
            MixpeekDialect(prefixes="v1", vector_flag="return_vectors", errors="flat"),
            MixpeekDialect(features_reply="video_segments", vector_flag="include_vectors", errors="detail"),
            MixpeekDialect(features_reply="video_segments", page_size_cap=3),
            MixpeekDialect(null_for_empty=True, timestamps="zulu"),
        ],
        always=(1,),
    ),
    ids=["v1", "segments", "capped segments", "nulls"],
)
async def test_every_dialect_gives_the_same_assets(dialect: MixpeekDialect, described: dict[str, Any]) -> None:
    assert len(described) >= 20
    assert await _everything(SandboxSettings(mixpeek=dialect)) == described


async def _everything(settings: SandboxSettings) -> dict[str, Any]:
    async with reading_sandbox(settings) as (source, sandbox):
        results = assets_of(await pulled(source, *sandbox.mixpeek.asset_ids(status="DONE")[::4]))
    return {
        asset.asset_id: (asset.metadata, asset.updated_at, {f.feature_id: _contents(f) for f in asset.features})
        for asset in results
    }


def _contents(feature: Any) -> Any:
    return feature.modality, feature.fields, {name: str(vector) for name, vector in feature.vectors.items()}


async def _four_features_each(request: web.Request) -> web.StreamResponse:
    if request.path.startswith("/features/"):
        return json({"feature_id": request.path.split("/")[2], "vectors": {"m": [1.0]}})
    if not request.path.startswith("/assets/"):
        return json(NO_COLLECTIONS)
    asset_id = request.path.split("/")[2]
    rows = [{"feature_id": f"{asset_id}.{n}", "modality": "text"} for n in range(4)]
    return json({"asset": {"asset_id": asset_id}, "features": {"text": rows}})


async def test_requests_are_really_side_by_side() -> None:
    """Nobody is answered before eight requests for features are there at once."""
    together = asyncio.Barrier(8)

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/features/"):
            await together.wait()
        return await _four_features_each(request)

    async with serving(handler) as server, aclosing(source_for(server.url, concurrency=8)) as source:
        assert len(await pulled(source, *(f"a{n}" for n in range(10)))) == 10


async def test_assets_finish_one_after_the_other_so_that_few_are_in_memory() -> None:
    async with serving(_four_features_each) as server, aclosing(source_for(server.url, concurrency=2)) as source:
        assert len(await pulled(source, "a1", "a2")) == 2
    asked = [seen.path.split(".")[0] for seen in server.seen if seen.path.startswith("/features/")]
    assert asked[:3] == [asked[0]] * 3
    assert asked[-3:] == [asked[-1]] * 3


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "fault",
    family(
        [
            Status(status=429, retry_after=1),
            Status(status=500),
            Status(status=503, body="html"),
            Reset(),
            Reset(when="midway"),
            Stall(when="midway"),
            Truncate(),
            Truncate(length="short"),
            Html(),
            Garbage(),
        ],
        always=(0, 1, 5, 8),
    ),
    ids=lambda fault: fault.kind,
)
async def test_passing_faults_lose_nothing(route: str, fault: Any) -> None:
    patience = RetryPolicy(attempts=6, timeout_seconds=0.3, first_wait=0.01, longest_wait=0.05)
    settings = SandboxSettings(generate=GENERATED, faults=(Fault(route=route, do=fault, nth=2, times=2),))
    async with reading_sandbox(settings, retry=patience) as (source, sandbox):
        results = assets_of(await pulled(source, *sandbox.mixpeek.asset_ids()))
    assert [len(asset.features) for asset in results] == [4] * 12
    assert sandbox.requests.total == 1 + 12 + 48 + 2


async def test_an_asset_that_vanished_is_left_out() -> None:
    settings = SandboxSettings(generate=GENERATED, faults=(Fault(route="assets.features", do=Vanish(), times=1),))
    async with reading_sandbox(settings, concurrency=1) as (source, sandbox):
        ids = sandbox.mixpeek.asset_ids()
        results = await pulled(source, *ids)
    assert [result.asset_id for result in results] == sorted(ids[1:])


async def test_an_asset_one_of_whose_features_vanished_is_left_out_until_the_next_run() -> None:
    settings = SandboxSettings(generate=GENERATED, faults=(Fault(route="features.get", do=Vanish(), nth=6, times=1),))
    async with reading_sandbox(settings, concurrency=1) as (source, sandbox):
        ids = sandbox.mixpeek.asset_ids()
        assert len(assets_of(await pulled(source, *ids))) == 11
        assert [len(asset.features) for asset in assets_of(await pulled(source, ids[1]))] == [3]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "fault", family([Status(), Garbage(), Html(), Status(status=422)]), ids=lambda fault: fault.kind
)
async def test_an_asset_that_stays_unreadable_is_set_aside_and_no_other(route: str, fault: Any) -> None:
    async with reading_sandbox(SandboxSettings(generate=GENERATED)) as (source, sandbox):
        ids = sandbox.mixpeek.asset_ids()
        bad = ids[3] if route == "assets.features" else sandbox.mixpeek.feature_ids(ids[3])[2]
        sandbox.faults.add(Fault(route=rf"/.*{bad}(/features)?$", do=fault))
        results = await pulled(source, *ids)
    assert len(results) == 12
    (rejected,) = (result for result in results if isinstance(result, Rejected))
    assert (rejected.asset_id, rejected.reason, rejected.feature_id) == (ids[3], Reason.UNREADABLE, "")
    assert rejected.detail


async def test_a_too_large_answer_sets_the_asset_aside() -> None:
    faults = (Fault(route="assets.features", do=Oversized(), times=1),)
    settings = SandboxSettings(generate=GENERATED, faults=faults)
    async with reading_sandbox(settings, max_answer_mb=1) as (source, sandbox):
        results = await pulled(source, *sandbox.mixpeek.asset_ids())
    (rejected,) = (result for result in results if isinstance(result, Rejected))
    assert "larger than 1,000,000 bytes" in rejected.detail


async def test_too_many_unreadable_assets_stop_the_pull() -> None:
    results: list[Asset | Rejected] = []

    async def take_all(source: Any, ids: list[str]) -> None:
        async for result in source.pull("generated", listings_of(ids)):
            results.append(result)  # noqa: PERF401 - what came before the error has to be kept

    settings = SandboxSettings(generate=GENERATED)
    async with reading_sandbox(settings) as (source, sandbox):
        await source.collections()
        sandbox.faults.add(Fault(route="*", do=Status()))
        with pytest.raises(SourceError, match=r"More than 10 assets in a row of collection generated.* 503"):
            await take_all(source, sandbox.mixpeek.asset_ids())
    assert [type(result) for result in results] == [Rejected] * 10


async def test_unreadable_assets_between_readable_ones_stop_nothing() -> None:
    generated = GeneratedCatalogue(assets=40, features_per_asset=1, dimension=4)
    async with reading_sandbox(SandboxSettings(generate=generated), concurrency=1) as (source, sandbox):
        ids = sandbox.mixpeek.asset_ids()
        for bad in ids[::2]:
            sandbox.faults.add(Fault(route=rf"/assets/{bad}/features", do=Status(status=422)))
        results = await pulled(source, *ids)
    assert sum(isinstance(result, Rejected) for result in results) == 20
    assert len(results) == 40


async def test_a_dozen_assets_that_no_run_can_read_stop_nothing_while_the_service_answers() -> None:
    settings = SandboxSettings(generate=GENERATED, faults=(Fault(route="features.get", do=Status(status=422)),))
    async with reading_sandbox(settings) as (source, sandbox):
        results = await pulled(source, *sandbox.mixpeek.asset_ids())
    assert [type(result) for result in results] == [Rejected] * 12


async def test_a_service_that_has_no_feature_it_lists_ends_the_pull() -> None:
    generated = GeneratedCatalogue(assets=100, features_per_asset=3, dimension=4)
    faults = (Fault(route="features.get", do=Status(status=404)),)
    async with reading_sandbox(SandboxSettings(generate=generated, faults=faults)) as (source, sandbox):
        with pytest.raises(SourceError, match="50 of 50 assets of collection c cannot be read"):
            await pulled(source, *sandbox.mixpeek.asset_ids())


@pytest.mark.long
async def test_a_pull_can_be_stopped_while_everything_fails() -> None:
    """Each time other features fail in the moment of the cancellation; no worker may take it for their failure."""
    generated = GeneratedCatalogue(assets=100, features_per_asset=3, dimension=4)
    faults = (Fault(route="features.get", do=Status(status=404)),)
    async with reading_sandbox(SandboxSettings(generate=generated, faults=faults)) as (source, sandbox):
        before, ids = client_tasks(), sandbox.mixpeek.asset_ids()
        for taken in range(1, 31, 3):
            async with asyncio.timeout(20), aclosing(source.pull("c", listings_of(ids))) as results:
                for _ in range(taken):
                    await anext(results)
        assert client_tasks() == before


async def test_more_unreadable_than_readable_assets_stop_the_pull() -> None:
    generated = GeneratedCatalogue(assets=60, features_per_asset=1, dimension=4)
    async with reading_sandbox(SandboxSettings(generate=generated), concurrency=1) as (source, sandbox):
        ids = sandbox.mixpeek.asset_ids()
        for place, bad in enumerate(ids):
            if place % 3:
                sandbox.faults.add(Fault(route=rf"/assets/{bad}/features", do=Status(status=422)))
        with pytest.raises(SourceError, match="33 of 50 assets of collection c cannot be read"):
            await pulled(source, *ids)


@pytest.mark.parametrize("route", ROUTES)
async def test_what_the_service_lists_but_does_not_have_is_unreadable_and_not_gone(route: str) -> None:
    settings = SandboxSettings(generate=GENERATED, faults=(Fault(route=route, do=Status(status=404), times=1),))
    async with reading_sandbox(settings, concurrency=1) as (source, sandbox):
        results = await pulled(source, *sandbox.mixpeek.asset_ids(), collection="generated")
    assert len(results) == 12
    (rejected,) = (result for result in results if isinstance(result, Rejected))
    assert (rejected.reason, rejected.feature_id) == (Reason.UNREADABLE, "")
    assert "still list" in rejected.detail


async def test_an_asset_left_out_is_logged_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async with reading_sandbox() as (source, _):
        assert await pulled(source, "a1\x1b[2J\nb") == []
    told = [each for each in caplog.records if each.levelno >= logging.WARNING]
    (record,) = (each for each in told if each.name.startswith("vectorferry"))
    assert record.getMessage().isprintable()
    assert "left out" in record.getMessage()


@pytest.mark.parametrize("route", ROUTES)
async def test_a_refused_key_stops_at_once(route: str) -> None:
    settings = SandboxSettings(generate=GENERATED, faults=(Fault(route=route, do=Status(status=401)),))
    async with reading_sandbox(settings) as (source, sandbox):
        with pytest.raises(CredentialsError):
            await pulled(source, *sandbox.mixpeek.asset_ids())
        assert source.usage.retries == 0


async def test_a_redirect_stops_and_the_key_stays() -> None:
    async with serving(in_turn(json({}))) as other:
        fault = Fault(route="features.get", do=Redirect(location=f"{other.url}/features/f1"))
        async with reading_sandbox(SandboxSettings(generate=GENERATED, faults=(fault,))) as (source, sandbox):
            with pytest.raises(SourceError, match=other.host):
                await pulled(source, *sandbox.mixpeek.asset_ids())
    assert other.seen == []


async def test_stopping_early_leaves_no_task() -> None:
    async with reading_sandbox(SandboxSettings(generate=GENERATED, latency_ms=5), concurrency=4) as (source, sandbox):
        before = client_tasks()
        async with aclosing(source.pull("generated", listings_of(sandbox.mixpeek.asset_ids()))) as results:
            await anext(results)
        assert client_tasks() == before
        assert len(await pulled(source, *sandbox.mixpeek.asset_ids())) == 12


async def test_cancelling_leaves_no_task() -> None:
    settings = SandboxSettings(generate=GENERATED, faults=(Fault(route="features.get", do=Stall()),))
    async with reading_sandbox(settings, concurrency=4) as (
        source,
        sandbox,
    ):
        before = client_tasks()
        pulling = asyncio.create_task(pulled(source, *sandbox.mixpeek.asset_ids()))
        await happened(lambda: sandbox.requests.counts().get("features.get", 0) >= 4)
        pulling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pulling
        assert client_tasks() == before


async def test_a_slow_consumer_holds_the_reading_back() -> None:
    many = GeneratedCatalogue(assets=200, features_per_asset=1, dimension=4)
    taken = 0

    async with reading_sandbox(SandboxSettings(generate=many), concurrency=4) as (source, sandbox):

        async def listings() -> AsyncIterator[Listing]:
            nonlocal taken
            for asset_id in sandbox.mixpeek.asset_ids():
                taken += 1
                yield Listing(asset_id, "")

        async with aclosing(source.pull("generated", listings())) as results:
            for consumed in range(1, 11):
                await anext(results)
                await asyncio.sleep(0.02)
                assert taken <= consumed + 2 * 4
        assert sandbox.requests.counts()["assets.features"] < 30
