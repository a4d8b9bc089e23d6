"""What a sync comes to when the service lists its assets and does not let them be read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pytest

from vectorferry import Summary
from vectorferry.connector.plugin import CredentialsError, Reason, SourceSettings
from vectorferry.connector.sandbox import (
    Fault,
    Garbage,
    GeneratedCatalogue,
    GeneratedIndexes,
    Html,
    Oversized,
    Reset,
    Sandbox,
    SandboxSettings,
    Status,
    Truncate,
)
from vectorferry.connector.sources.mixpeek import MixpeekSettings
from vectorferry.connector.sources.twelvelabs import TwelveLabsSettings
from vectorferry.connector.testing import MemoryDestination, sync, verify

from ...waiting import PATIENCE

ASSETS: Final = 4
QUICK: Final = {"attempts": 2, "first_wait": 0.01, "longest_wait": 0.02, "timeout_seconds": PATIENCE}

OUTAGES: Final[tuple[Any, ...]] = (
    *(Status(status=status) for status in (400, 403, 404, 410, 422, 429, 500, 503)),
    Status(status=403, body="text"),
    Status(status=404, body="html"),
    Status(status=503, body="html"),
    Html(),
    Garbage(),
    Truncate(),
    Reset(),
    Reset(when="midway"),
    Oversized(bytes=2_000_000),
)


@dataclass(frozen=True)
class Service:
    """A service with a few assets in one collection: which routes read them, and how to make its source's settings."""

    name: str
    routes: tuple[str, ...]

    def settings(self, sandbox: Sandbox, **more: Any) -> SourceSettings:
        given = {"api_key": sandbox.api_key, "retry": QUICK, "max_answer_mb": 1, **more}
        if self.name == "mixpeek":
            return MixpeekSettings.model_validate({"base_url": sandbox.url, **given})
        return TwelveLabsSettings.model_validate({"base_url": sandbox.twelvelabs_url, "entities": False, **given})

    def assets(self, sandbox: Sandbox) -> list[str]:
        return sorted(sandbox.mixpeek.asset_ids() if self.name == "mixpeek" else sandbox.twelvelabs.asset_ids())

    def __repr__(self) -> str:
        return self.name


MIXPEEK: Final = Service("mixpeek", ("assets.features", "features.get"))
TWELVELABS: Final = Service("twelvelabs", ("twelvelabs.indexed_assets.get",))
ROUTES: Final = [(service, route) for service in (MIXPEEK, TWELVELABS) for route in service.routes]
REFUSALS: Final[tuple[Any, ...]] = (Status(), Status(status=403), Status(status=404), Html())


def each_once(faults: Sequence[Any]) -> Iterator[tuple[Service, str, Any]]:
    """Every fault on one of the routes, every route in turn."""
    for number, fault in enumerate(faults):
        yield (*ROUTES[number % len(ROUTES)], fault)


def all_others(faults: Sequence[Any]) -> Iterator[Any]:
    """Every fault on the routes where `each_once` has others."""
    for number, fault in enumerate(faults):
        for place, (service, route) in enumerate(ROUTES):
            if place != number % len(ROUTES):
                yield pytest.param(service, route, fault, marks=pytest.mark.long)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    settings = SandboxSettings(
        generate=GeneratedCatalogue(assets=ASSETS, features_per_asset=1, dimension=4),
        generate_twelvelabs=GeneratedIndexes(assets=ASSETS, segments_per_asset=1, dimension=4),
    )
    async with Sandbox(settings) as serving:
        yield serving


async def synced(opened: SourceSettings, store: MemoryDestination) -> Summary:
    source = opened.open()
    try:
        return await sync(source, [store], name="m")
    finally:
        await source.aclose()


@pytest.mark.parametrize(("service", "route", "fault"), [*each_once(OUTAGES), *all_others(OUTAGES)], ids=repr)
async def test_a_collection_of_which_nothing_can_be_read_has_failed(
    sandbox: Sandbox, service: Service, route: str, fault: Any
) -> None:
    settings, store = service.settings(sandbox), MemoryDestination()
    sandbox.faults.add(Fault(route=route, do=fault))
    failed = await synced(settings, store)
    (told,) = failed.collections.values()
    assert failed.exit_code == 1
    assert (told.listed, told.pulled, told.unread_count, sorted(told.unread)) == (4, 0, 4, service.assets(sandbox))
    assert str(told.error).startswith("4 assets could not be read and stay as they are until a run can: ")
    assert failed.to_dict()["collections"].popitem()[1]["unread"]["why"] == told.why_unread
    assert not any(map(store.quarantine.get, store.quarantine))
    sandbox.faults.clear()
    healthy = await synced(settings, store)
    assert (healthy.exit_code, [len(held) for held in store.assets.values()]) == (0, [ASSETS])


@pytest.mark.parametrize(("service", "route", "fault"), [*each_once(REFUSALS), *all_others(REFUSALS)], ids=repr)
async def test_one_that_cannot_be_read_is_a_failure_and_harms_no_other(
    sandbox: Sandbox, service: Service, route: str, fault: Any
) -> None:
    settings, store = service.settings(sandbox), MemoryDestination()
    lost = service.assets(sandbox)[1]
    about = lost if route != "features.get" else sandbox.mixpeek.feature_ids(lost)[0]
    sandbox.faults.add(Fault(route=rf"/.*{about}(/features)?$", do=fault))
    for _ in range(2):  # it is tried again, and is the same failure
        failed = await synced(settings, store)
        (told,) = failed.collections.values()
        assert (failed.exit_code, told.unread) == (1, [lost])
        assert str(told.error).startswith(f"1 asset could not be read and stays as it is until a run can: {lost}. It: ")
    (held,) = store.assets.values()
    assert sorted(held) == [asset for asset in service.assets(sandbox) if asset != lost]
    assert not any(map(store.quarantine.get, store.quarantine))


@pytest.mark.parametrize("service", [MIXPEEK, TWELVELABS], ids=str)
async def test_a_quota_that_is_used_up_before_the_first_list_is_in_the_summary(
    sandbox: Sandbox, service: Service
) -> None:
    sandbox.faults.add(Fault(route="*", do=Status(status=429, retry_after=7_200)))
    limited = await synced(service.settings(sandbox), MemoryDestination())
    assert (limited.exit_code, limited.collections) == (5, {})
    assert limited.to_dict()["source"]["limited_until"]
    assert limited.usage.requests == 1


async def test_a_bad_key_ends_the_run_and_a_missing_right_only_its_collection(sandbox: Sandbox) -> None:
    with pytest.raises(CredentialsError):
        await synced(MIXPEEK.settings(sandbox, api_key="sk_wrong"), MemoryDestination())
    store = MemoryDestination()
    account = sandbox.twelvelabs
    others = [account.put_index(f"other {number}", f"{number:024}") for number in range(1, 5)]
    asset = account.put_asset(others[-1], {})
    try:
        sandbox.faults.add(*(Fault(route=f"/.*{index}/", do=Status(status=403)) for index in others[:3]))
        partly = await synced(TWELVELABS.settings(sandbox), store)
    finally:
        for index in others:
            account.remove_index(index)
    assert partly.exit_code == 1
    assert [index for index, told in partly.collections.items() if told.error] == others[:3]
    assert asset in store.assets[others[-1]]
    assert len(store.assets) == 2


ODD: Final = ["a/b", "a%2Fb", "%2e", "a b?c=d#e", "..a", "ü/…", "a\\b", "a//b", "a+b&c", "...", "; --", "' OR 1"]


async def test_an_id_may_be_anything_that_can_be_part_of_an_address() -> None:
    store = MemoryDestination()
    async with Sandbox(SandboxSettings(generate=GeneratedCatalogue(assets=1, features_per_asset=1))) as sandbox:
        (plain,) = sandbox.mixpeek.asset_ids()
        for asset_id in (*ODD, ".", ".."):
            feature = {"feature_id": f"{asset_id} of {asset_id}", "modality": "text"}
            sandbox.mixpeek.put_asset({"asset_id": asset_id, "collection_id": "generated"}, [feature])
        sandbox.mixpeek.remove_asset(plain)
        settings = MIXPEEK.settings(sandbox)
        for _ in range(2):
            assert (await synced(settings, store)).exit_code == 3
        source = settings.open()
        checked = await verify(source, [store], name="m")
        await source.aclose()
    assert sorted(store.assets["generated"]) == sorted(ODD)
    assert all(asset.features for asset in store.assets["generated"].values())
    aside = {asset_id: record.reason for (asset_id, *_), record in store.quarantine["generated"].items()}
    assert aside == {".": Reason.BAD_ID, "..": Reason.BAD_ID}
    assert checked.exit_code == 0
    assert "2 assets are in quarantine" in checked.collections["generated"].notes[0]
