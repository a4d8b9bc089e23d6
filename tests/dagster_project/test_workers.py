"""A sync with `workers`: one step lists, workers share what is to be read, and one closes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import dagster as dg
import psycopg
import pytest

from tests.dagster_project.running import failure_of, materialize, recorded
from tests.tables import differences, row_counts
from vectorferry.connector.sandbox import GeneratedCatalogue, Sandbox, SandboxSettings, running_sandbox
from vectorferry.dagster import VectorferrySync

ASSETS: Final = 65
COLLECTIONS: Final = ("ads", "films")
CATALOGUE: Final = GeneratedCatalogue(assets=ASSETS * 2, features_per_asset=1, dimension=8, collections=COLLECTIONS)
WORKERS: Final = 3
DIFFERENT: Final = {"seconds", "requests", "received_bytes", "dagster/table_name", "dagster/uri"}
"""What the same work costs, and where it is."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(SandboxSettings(generate=CATALOGUE)) as sandbox:
        yield sandbox


def sync(sandbox: Sandbox, url: str, schema: str, **attributes: Any) -> VectorferrySync:
    source = {"type": "mixpeek", "base_url": sandbox.url, "api_key": sandbox.api_key, "collections": list(COLLECTIONS)}
    destination = {"type": "pgvector", "url": url, "schema": schema}
    return VectorferrySync(name="media", source=source, destinations=[destination], **attributes)


def defs_of(component: VectorferrySync) -> dg.Definitions:
    return dg.build_defs_for_component(component)


def steps(result: dg.ExecuteInProcessResult) -> list[str]:
    return sorted(event.step_key for event in result.all_events if event.is_step_success and event.step_key)


def test_the_assets_are_the_same(sandbox: Sandbox, postgres_url: str) -> None:
    alone, shared = (
        defs_of(sync(sandbox, postgres_url, "never", **attributes)) for attributes in ({}, {"workers": WORKERS})
    )
    one, other = (
        next(each for each in defs.assets or [] if isinstance(each, dg.AssetsDefinition)) for defs in (alone, shared)
    )
    assert other.keys == one.keys
    assert [spec.kinds for spec in other.specs] == [spec.kinds for spec in one.specs]
    assert (other.partitions_def, other.backfill_policy, other.can_subset) == (
        one.partitions_def,
        one.backfill_policy,
        one.can_subset,
    )
    assert {each.name for each in shared.jobs or []} == {each.name for each in alone.jobs or []}


def test_what_they_write_is_what_one_step_writes(
    sandbox: Sandbox, postgres_url: str, schema: str, instance: dg.DagsterInstance
) -> None:
    alone, shared = f"{schema}_alone", f"{schema}_shared"
    assert materialize(defs_of(sync(sandbox, postgres_url, alone)), instance, "ads", "films").success
    by_one = recorded(instance, "media/video", limit=2)
    result = materialize(defs_of(sync(sandbox, postgres_url, shared, workers=WORKERS)), instance, "ads", "films")
    assert result.success, failure_of(result)
    workers = [f"media.media_worker[worker_{number}]" for number in range(1, WORKERS + 1)]
    assert steps(result) == ["media.media_close", "media.media_list", *workers]
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        assert row_counts(connection, shared)["video"] == len(COLLECTIONS) * ASSETS
        assert differences(connection, alone, shared) == []
    by_several = recorded(instance, "media/video", limit=2)
    for key in COLLECTIONS:
        rows = [record.data for record in by_several[key].pop("workers").records]
        assert [(row["assets"], row["assets_left"]) for row in rows] == [(ASSETS, 0)], "the first one did it all here"
        assert {name: by_several[key][name] for name in by_several[key].keys() - DIFFERENT} == {
            name: by_one[key][name] for name in by_one[key].keys() - DIFFERENT
        }


def test_a_run_in_which_little_has_changed_has_no_workers(
    sandbox: Sandbox, postgres_url: str, schema: str, instance: dg.DagsterInstance
) -> None:
    defs = defs_of(sync(sandbox, postgres_url, schema, workers=WORKERS))
    few = materialize(defs, instance, "ads")
    assert steps(few) == ["media.media_close", "media.media_list"]
    reread = materialize(defs, instance, "ads", reread=True)
    assert reread.success
    assert steps(reread) == ["media.media_close", "media.media_list"]
    assert recorded(instance, "media/video", limit=1)["ads"]["assets_pulled"] == ASSETS


def test_some_of_the_tables(sandbox: Sandbox, postgres_url: str, schema: str, instance: dg.DagsterInstance) -> None:
    defs = defs_of(sync(sandbox, postgres_url, schema, workers=WORKERS))
    result = materialize(defs, instance, "ads", select=["media/video"])
    assert result.success
    made = {event.asset_key for event in result.all_events if event.is_step_materialization}
    assert made == {dg.AssetKey(["media", "video"])}
