"""An engine's steps: one lists and cuts shards, others read and write them, and an ordinary sync closes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from vectorferry import ConfigurationError, SyncOptions, SyncSettings, parse_settings, run_sync
from vectorferry.connector._engine import JoinOptions, fleets_of, list_shards, run_join
from vectorferry.connector._engine._opening import opened
from vectorferry.connector.sandbox import Fault, GeneratedCatalogue, Sandbox, SandboxSettings, Stall, running_sandbox

from ..waiting import PATIENCE, wait_until
from .command import Command

ASSETS = 60
Settings = Callable[..., SyncSettings]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """A collection of so many videos."""
    media = GeneratedCatalogue(assets=ASSETS, features_per_asset=1, dimension=8, collections=("films",))
    with running_sandbox(SandboxSettings(generate=media)) as running:
        yield running


@pytest.fixture
def described(sandbox: Sandbox, postgres_url: str, schema: str) -> Callable[..., dict[str, Any]]:
    """A sync of it, with something else said."""

    def made(schema: str = schema, url: str = sandbox.url, **more: Any) -> dict[str, Any]:
        source = {"type": "mixpeek", "base_url": url, "api_key": sandbox.api_key}
        destination = {"type": "pgvector", "url": postgres_url, "schema": schema}
        return {"name": "media", "source": source, "destinations": [destination], **more}

    return made


@pytest.fixture
def settings(described: Callable[..., dict[str, Any]]) -> Settings:
    """The same as settings."""
    return lambda **more: parse_settings(described(**more), "test")


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


@pytest.mark.long
def test_nobody_waits_for_a_list_step_that_was_killed(settings: Settings, postgres_url: str, schema: str) -> None:
    """Its run is good for a day, and no other shard will come. Red where a worker waits for it all day."""
    (films,) = list_shards(settings())
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"UPDATE {schema}._sync_shared SET listed = false, lease = 0.5".encode())
    assert run_join(settings(), JoinOptions(runs=[films.run_id])).assets == ASSETS


def test_a_list_step_is_heard_of_while_the_source_keeps_it_waiting(
    settings: Settings, sandbox: Sandbox, postgres_url: str, schema: str
) -> None:
    """Red where it is only when it has listed everything: workers that are faster leave for good."""
    run_sync(settings(), SyncOptions(only=frozenset()))  # makes the tables
    sandbox.faults.add(Fault(route="assets.list", do=Stall(seconds=PATIENCE)))
    with psycopg.connect(postgres_url, autocommit=True) as connection, ThreadPoolExecutor(1) as step:
        listing = step.submit(list_shards, settings(), SyncOptions(lease=1))
        until = f"SELECT lease_until FROM {schema}._sync_shared WHERE NOT listed".encode()
        try:
            wait_until(lambda: connection.execute(until).fetchone())
            first = connection.execute(until).fetchone()
            wait_until(lambda: connection.execute(until).fetchone() != first)
        finally:
            sandbox.faults.clear()
        (films,) = listing.result()
        assert connection.execute(f"SELECT listed FROM {schema}._sync_shared".encode()).fetchone() == (True,)
    assert (films.to_pull, films.error) == (ASSETS, None)


@pytest.mark.long
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


@pytest.mark.long
@pytest.mark.parametrize("limits", [{}, {"rows_per_asset": 1}], ids=["written", "set aside"])
def test_the_close_step_counts_what_workers_have_done(
    settings: Settings, new_schema: Callable[[], str], limits: dict[str, int]
) -> None:
    alone = run_sync(settings(schema=new_schema(), limits=limits)).to_dict()
    list_shards(settings(limits=limits), SyncOptions(run_id="r1"))
    run_join(settings(limits=limits), JoinOptions(name="step"))
    closed = run_sync(settings(limits=limits), SyncOptions(run_id="r2", closes=["r1"])).to_dict()
    for name in ("listed", "unchanged", "complete"):
        assert closed["collections"]["films"][name] == alone["collections"]["films"][name], name
    assert closed["collections"]["films"]["pulled"] == (2 * ASSETS if limits else ASSETS)  # what is set aside, twice
    (worker,) = closed["collections"]["films"]["workers"]
    assert worker.startswith("step:")
    for name in ("assets", "features", "vectors", "rejected"):
        assert closed["destinations"]["pgvector"][name] == alone["destinations"]["pgvector"][name]


def test_the_command_line_shows_who_works_and_joins(described: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    command = Command(tmp_path)
    command.configure(described())
    list_shards(parse_settings(described(), "test"))
    (run,) = command.told("status", "--workers")["runs"]
    assert (run["collection"], run["assets"], run["done"], run["open"], run["workers"]) == ("films", ASSETS, 0, 4, [])
    assert "films: 0 of 60 assets done, 4 shards open, 0 claimed" in command.run("status", "--workers").stdout
    joined = command.told("sync", "--join", "--lock-wait", "0")
    assert (joined["shards"], joined["assets"], joined["features"]) == (4, ASSETS, ASSETS)
    assert joined["worker"] in command.run("status", "--workers").stdout
    assert command.told("sync")["collections"]["films"]["unchanged"] == ASSETS
    assert "no run of media shares its work just now" in command.run("status", "--workers").stdout
    alone = command.run("sync", "--join", "--lock-wait", "0.1")
    assert "looking for a run of media that shares its work, for up to 0.1 s" in alone.stderr
    assert "no run of media is going on" in alone.stdout


@pytest.mark.long
def test_a_collection_that_somebody_else_writes_costs_the_others_nothing(settings: Settings) -> None:
    run_sync(settings(), SyncOptions(collections=["films"]))
    with opened(settings()) as (destination,), destination.lock("films"):
        locked, other = list_shards(settings(), SyncOptions(collections=["films", "other"], lock_wait=0))
    assert locked.error
    assert other.error is None
