"""What the service refuses: the key, one asset, an option; each told with what to do."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from vectorferry import SyncOptions
from vectorferry.connector.plugin import (
    Asset,
    ConfigurationError,
    CredentialsError,
    LimitReachedError,
    Reason,
    Rejected,
    SourceError,
)
from vectorferry.connector.sandbox import Fault, Status, TwelveLabsDialect
from vectorferry.connector.sources.twelvelabs._indexed_assets import IndexedAssets
from vectorferry.connector.sources.twelvelabs._indexes import Index, index_from
from vectorferry.connector.testing import MemoryDestination, sync

from .worlds import READ, listed, read, reading


async def test_an_expired_key_is_told_with_what_to_do() -> None:
    async with reading(api_key=SecretStr("tlk_expired")) as (source, _):
        with pytest.raises(CredentialsError) as refused:
            await source.collections()
    assert "refused the key (401 Unauthorized: The API key is invalid or has expired)" in str(refused.value)
    assert "Check source.api_key (by default ${TWELVELABS_API_KEY}). Keys of TwelveLabs expire" in str(refused.value)
    assert "tlk_expired" not in str(refused.value)


@pytest.mark.parametrize("missing", ["declared", "400", "403", "404"])
async def test_an_asset_that_is_gone_is_left_out_whatever_the_service_calls_it(missing: Any) -> None:
    async with reading(TwelveLabsDialect(missing=missing)) as (source, sandbox):
        index = sandbox.twelvelabs.index_id("archive")
        gone, *others = await listed(source, index)
        sandbox.twelvelabs.remove_asset(gone)
        assert sorted(await read(source, index, [gone, *others])) == sorted(others)


@pytest.mark.parametrize("status", ["queued", "failed", "what comes next"])
async def test_an_asset_that_is_processed_again_is_left_out(status: str) -> None:
    async with reading() as (source, sandbox):
        index = sandbox.twelvelabs.index_id("archive")
        again, *others = await listed(source, index)
        sandbox.twelvelabs.set_status(again, status)
        assert sorted(await read(source, index, [again, *others])) == sorted(others)


async def test_what_is_still_listed_and_not_there_is_a_failure_each_time() -> None:
    """It was a line in a log, and the numbers of a run did not add up."""
    async with reading() as (source, sandbox):
        index, store = sandbox.twelvelabs.index_id("archive"), MemoryDestination()
        lost = next(iter(await listed(source, index)))
        sandbox.faults.add(Fault(route=f"/.*{lost}", do=Status(status=404)))
        told = (await sync(source, [store], SyncOptions(collections=[index]), name="m")).collections[index]
    assert (told.listed, told.pulled, told.unread) == (12, 11, [lost])
    assert str(told.error).startswith(f"1 asset could not be read and stays as it is until a run can: {lost}. It: ")
    assert "(404 Not Found" in str(told.error)
    assert str(told.error).endswith("It is still listed as ready, though.")


async def test_one_forbidden_asset_is_not_a_bad_key() -> None:
    async with reading() as (source, sandbox):
        index = sandbox.twelvelabs.index_id("archive")
        secret, *others = await listed(source, index)
        sandbox.faults.add(Fault(route=f"/.*{secret}", do=Status(status=403, body="text")))
        results = await read(source, index, [secret, *others])
    rejected = results.pop(secret)
    assert isinstance(rejected, Rejected)
    assert rejected.reason is Reason.UNREADABLE
    assert f"does not let this key do GET /indexes/{index}/indexed-assets/{secret} (403 Forbidden" in rejected.detail
    assert all(isinstance(result, Asset) for result in results.values())
    assert len(results) == len(others)


async def test_a_key_that_is_revoked_meanwhile_ends_the_run() -> None:
    async with reading() as (source, sandbox):
        index = sandbox.twelvelabs.index_id("films")
        assets = await listed(source, index)
        sandbox.faults.add(Fault(route="twelvelabs.*", do=Status(status=403, body="text")))
        with pytest.raises(SourceError, match=r"in a row .* cannot be read; the last: .* does not let this key"):
            await read(source, index, assets)


async def test_a_key_that_expires_meanwhile_ends_the_run() -> None:
    async with reading() as (source, sandbox):
        index = sandbox.twelvelabs.index_id("films")
        assets = await listed(source, index)
        sandbox.faults.add(Fault(route=READ, do=Status(status=401)))
        with pytest.raises(CredentialsError, match="refused the key"):
            await read(source, index, assets)


async def test_an_option_that_is_refused_all_the_same_is_told_with_what_to_leave_out() -> None:
    async with reading(options=("visual", "audio")) as (source, sandbox):
        index = sandbox.twelvelabs.index_id("films")
        await source.collections()
        sandbox.faults.add(Fault(route=READ, do=Status(status=400)))
        (name, *_) = sandbox.twelvelabs.asset_ids(index)
        rejected = (await read(source, index, [name]))[name]
    assert isinstance(rejected, Rejected)
    assert rejected.reason is Reason.UNREADABLE
    assert "made with visual, audio, transcription; leave what it refuses out of source.options" in rejected.detail


def vectors_in(store: MemoryDestination, collection: str) -> set[str]:
    features = [feature for asset in store.assets.get(collection, {}).values() for feature in asset.features]
    return {name for feature in features for name in feature.vectors}


async def test_indexes_of_several_models_load_in_one_sync_each_with_the_options_that_it_has() -> None:
    """Each asset of an index that lacked one of them was refused, and the advice was to name those of one index."""
    made = {"old": ("visual-text", "audio"), "new": ("visual", "audio"), "seen": ("visual",), "heard": ("audio",)}
    options = ("visual", "visual-text")
    async with reading(options=options, entities=False) as (source, sandbox):
        account, store = sandbox.twelvelabs, MemoryDestination()
        for index in account.index_ids():
            account.remove_index(index)
        for name, has in made.items():
            model = "marengo2.7" if name == "old" else "marengo3.0"
            index = account.put_index(name, f"{len(account.index_ids()):024}", model_name=model, options=has)
            parts = [{"start": 0, "end": 6, "option": option, "text": "a wave"} for option in has]
            account.put_asset(index, {"segments": parts})
        told = await sync(source, [store], name="m")
        ids = {name: account.index_id(name) for name in made}
    assert {name: vectors_in(store, index) for name, index in ids.items()} == {
        "old": {"marengo2.7-visual-text"},
        "new": {"marengo3.0-visual"},
        "seen": {"marengo3.0-visual"},
        "heard": set(),
    }
    assert told.exit_code == 1
    assert {name for name, index in ids.items() if told.collections[index].error} == {"heard"}
    assert "was made with audio, transcription, and source.options has none of these" in str(
        told.collections[ids["heard"]].error
    )


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("marengo3.0", ("visual", "audio", "transcription")),
        ("marengo2.7", ("visual", "audio")),
        ("Marengo-retrieval-2.7", ("visual", "audio")),
        ("marengo12.5", ("visual", "audio", "transcription")),
    ],
)
def test_spoken_words_have_vectors_from_the_third_generation_on(model: str, options: tuple[str, ...]) -> None:
    row = {"_id": "1", "models": [{"model_name": model, "model_options": ["visual", "audio"]}]}
    assert index_from(row).options == options


async def test_a_quota_for_the_day_ends_the_run_with_the_time_to_come_back() -> None:
    async with reading(TwelveLabsDialect(requests_per_day=4)) as (source, sandbox):
        index = sandbox.twelvelabs.index_id("archive")
        assets = await listed(source, index)
        with pytest.raises(LimitReachedError) as reached:
            await read(source, index, assets)
    assert reached.value.until is not None


async def test_an_option_that_nobody_knows_is_refused_before_any_asset_is_asked_for() -> None:
    async with reading(options=("visual", "visul")) as (source, _):
        with pytest.raises(ConfigurationError, match=r"no index has visul.*; did you mean visual") as refused:
            await source.collections()
    assert "audio, transcription, visual, visual-text" in str(refused.value)


async def test_an_option_that_only_some_index_has_is_asked_for() -> None:
    async with reading(options=("visual", "transcription")) as (source, _):
        assert await source.collections()


@pytest.mark.parametrize("odd", ["\ud800", "x" * 70_000])
async def test_an_option_that_no_request_can_hold_fails_its_index_alone(odd: str) -> None:
    """The service tells it as one that the index was made with, and it was used in the next request's query."""
    async with reading(entities=False) as (source, sandbox):
        account, store = sandbox.twelvelabs, MemoryDestination()
        for index in account.index_ids():
            account.remove_index(index)
        good, bad = (account.put_index(name, options=("visual",)) for name in ("good", "bad"))
        for index in (good, bad):
            account.put_asset(index, {})
        told_so = Index(bad, "bad", "marengo3.0", ("visual", odd))  # as its row would say, if the sandbox could
        source._readers[bad] = IndexedAssets(source._api, told_so, source._options)
        told = await sync(source, [store], name="m")
    assert told.exit_code == 1
    assert len(store.assets[good]) == 1
    assert "was not sent" in str(told.collections[bad].error)
