"""An engine's steps: one lists and cuts shards, others read and write them, and an ordinary sync closes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from vectorferry import ConfigurationError, SyncOptions, SyncSettings, parse_settings, run_sync
from vectorferry.connector._engine import JoinOptions, fleets_of, list_shards, run_join
from vectorferry.connector._engine._opening import opened
from vectorferry.connector.sandbox import GeneratedCatalogue, Sandbox, SandboxSettings, running_sandbox

ASSETS = 60
Settings = Callable[..., SyncSettings]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """A collection of so many videos."""
    media = GeneratedCatalogue(assets=ASSETS, features_per_asset=1, dimension=8, collections=("films",))
    with running_sandbox(SandboxSettings(generate=media)) as running:
        yield running


@pytest.fixture
def settings(sandbox: Sandbox, postgres_url: str, schema: str) -> Settings:
    """A sync of it, with something else said."""

    def made(schema: str = schema, url: str = sandbox.url, **more: Any) -> SyncSettings:
        source = {"type": "mixpeek", "base_url": url, "api_key": sandbox.api_key}
        destination = {"type": "pgvector", "url": postgres_url, "schema": schema}
        return parse_settings({"name": "media", "source": source, "destinations": [destination], **more}, "test")

    return made


def test_workers_write_what_the_list_step_has_cut_and_the_close_step_finds_it_unchanged(settings: Settings) -> None:
    (films,) = list_shards(settings(), SyncOptions(run_id="r1"))
    assert (films.listed, films.to_pull, films.shards, films.error) == (ASSETS, ASSETS, 4, None)
    joining = JoinOptions(runs=[films.run_id], name="step")
    with ThreadPoolExecutor(2) as steps:
        done = list(steps.map(lambda _: run_join(settings(), joining), range(2)))
    assert sum(each.assets for each in done) == sum(each.features for each in done) == ASSETS
    assert all(each.worker.startswith("step:") for each in done)
    with opened(settings()) as (destination,):
        (fleet,) = fleets_of(destination)
        assert (fleet.done, fleet.open, fleet.claimed, fleet.listed) == (ASSETS, 0, 0, True)
    summary = run_sync(settings(), SyncOptions(run_id="r1"))
    assert summary.exit_code == 0
    assert (summary.collections["films"].unchanged, summary.collections["films"].pulled) == (ASSETS, 0)
    with opened(settings()) as (destination,):
        assert fleets_of(destination) == []
    assert run_join(settings(), joining).by_collection == {}


def test_whoever_would_write_something_else_may_not_join(
    settings: Settings, sandbox: Sandbox, new_schema: Callable[[], str]
) -> None:
    list_shards(settings())
    column = {"video": {"columns": {"title": {"path": "metadata.title", "type": "text"}}}}
    with pytest.raises(ConfigurationError, match=r"configuration: the mapping \(`modalities`\) is not the same"):
        run_join(settings(modalities=column))
    with pytest.raises(ConfigurationError, match="configuration: the source's base_url is not the same here"):
        run_join(settings(url=sandbox.url.replace("127.0.0.1", "localhost")))
    assert run_join(settings(schema=new_schema())).by_collection == {}
    assert run_join(settings()).assets == ASSETS


def test_the_close_step_counts_what_workers_have_written(settings: Settings, new_schema: Callable[[], str]) -> None:
    alone = run_sync(settings(schema=new_schema())).to_dict()
    list_shards(settings(), SyncOptions(run_id="r1"))
    run_join(settings(), JoinOptions(name="step"))
    closed = run_sync(settings(), SyncOptions(run_id="r2", closes=["r1"])).to_dict()
    for name in ("listed", "pulled", "unchanged", "complete"):
        assert closed["collections"]["films"][name] == alone["collections"]["films"][name], name
    (worker,) = closed["collections"]["films"]["workers"]
    assert worker.startswith("step:")
    for name in ("assets", "features", "vectors", "rejected"):
        assert closed["destinations"]["pgvector"][name] == alone["destinations"]["pgvector"][name]


def test_a_collection_that_somebody_else_writes_costs_the_others_nothing(settings: Settings) -> None:
    run_sync(settings(), SyncOptions(collections=["films"]))
    with opened(settings()) as (destination,), destination.lock("films"):
        locked, other = list_shards(settings(), SyncOptions(collections=["films", "other"], lock_wait=0))
    assert locked.error
    assert other.error is None
