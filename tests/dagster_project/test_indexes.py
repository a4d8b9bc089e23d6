"""Destinations that keep an index per named vector: an asset each, beside the modality tables."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import dagster as dg
import numpy as np
import pytest

from tests.connector.worlds import asset, feature
from tests.dagster_project import plugins
from tests.dagster_project.conftest import Load
from tests.dagster_project.plugins import RackDestination, ShelfSource
from tests.dagster_project.running import materialize, recorded
from tests.dagster_project.test_secrets import CANARY, configured, everything_shown
from vectorferry import SyncSettings
from vectorferry.connector.plugin import DestinationError, Modality, SourceError
from vectorferry.connector.testing import MemoryDestination
from vectorferry.dagster import VectorferrySync
from vectorferry.dagster._targets import VectorIndex, further_indexes, targets_of

RACK = {"type": "rack", "vectors": ["multimodal-v1", "Text.v2"]}
BOTH = [{"type": "box"}, RACK]
TABLES = ["media/audio", "media/image", "media/text", "media/video"]
INDEXES = ["media/rack/multimodal_v1", "media/rack/text_v2"]

pytestmark = pytest.mark.usefixtures("rack")


def made(defs: dg.Definitions) -> dict[str, dg.AssetSpec]:
    """The assets that a run makes, by key."""
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs() if "source" not in spec.key.path}


def settings_with(*destinations: dict[str, Any]) -> SyncSettings:
    return VectorferrySync(name="media", source={"type": "shelf"}, destinations=list(destinations)).settings()


def modalities_of(destination: MemoryDestination) -> set[Modality]:
    return {f.modality for assets in destination.assets.values() for held in assets.values() for f in held.features}


def test_every_named_vector_is_an_asset_beside_the_tables_in_the_same_step(load: Load) -> None:
    defs = load(destinations=BOTH)
    specs = made(defs)
    assert sorted(specs) == [*TABLES[:2], *INDEXES, *TABLES[2:]]
    for key in INDEXES:
        assert [dep.asset_key.to_user_string() for dep in specs[key].deps] == ["media/source/shelf"]
        assert specs[key].kinds == {"python", "rack"}
        assert specs[key].group_name == "media"
        assert specs[key].partitions_def == specs["media/video"].partitions_def
    assert specs["media/video"].kinds == {"python", "box"}
    by_key = defs.get_repository_def().assets_defs_by_key
    assert len({by_key[dg.AssetKey.from_user_string(key)].op.name for key in specs}) == 1


def test_where_no_destination_has_tables_there_are_no_table_assets(load: Load, instance: dg.DagsterInstance) -> None:
    defs = load({"collections": ["ads"]}, destinations=[RACK])
    assert sorted(made(defs)) == INDEXES
    assert materialize(defs, instance, "ads", select=INDEXES).success


def test_vectors_that_a_key_cannot_tell_apart_get_assets_of_their_own() -> None:
    settings = settings_with({"type": "rack", "vectors": ["a-b", "a_b", "A.B"]})
    names = [target.name for target in targets_of(settings)]
    assert names[0] == "a_b"
    assert len(set(names)) == 3
    assert all(name.startswith("a_b") for name in names)
    (further,) = further_indexes(settings, 0, ["a b", "a-b"])
    assert (further.vector_name, further.name in names) == ("a b", False)


def test_two_destinations_of_one_name_are_refused_when_the_file_is_loaded(load: Load) -> None:
    with pytest.raises(Exception, match="two destinations are named 'rack'"):
        load(destinations=[RACK, RACK])


def test_only_indexes_selected_leaves_the_tables_alone_and_takes_every_modality(
    load: Load, box: MemoryDestination, rack: RackDestination, instance: dg.DagsterInstance
) -> None:
    result = materialize(load({"collections": ["ads"]}, destinations=BOTH), instance, "ads", select=INDEXES[:1])
    assert result.success
    assert box.assets == {}
    assert modalities_of(rack) == {Modality.VIDEO, Modality.IMAGE}
    assert set(recorded(instance, INDEXES[0])) == {"ads"}
    assert recorded(instance, "media/video") == {}


def test_only_tables_selected_leaves_the_indexes_alone(
    load: Load, box: MemoryDestination, rack: RackDestination, instance: dg.DagsterInstance
) -> None:
    assert materialize(
        load({"collections": ["ads"]}, destinations=BOTH), instance, "ads", select=["media/video"]
    ).success
    assert modalities_of(box) == {Modality.VIDEO}
    assert rack.assets == {}


def test_tables_and_indexes_selected_sync_both_with_one_read(
    load: Load, source: ShelfSource, box: MemoryDestination, rack: RackDestination, instance: dg.DagsterInstance
) -> None:
    defs = load({"collections": ["ads"]}, destinations=BOTH)
    assert materialize(defs, instance, "ads", select=["media/video", *INDEXES]).success
    assert modalities_of(box) == modalities_of(rack) == {Modality.VIDEO}
    assert sorted(source.pulled) == ["a0000", "a0001", "a0002"]
    assert recorded(instance, INDEXES[0])["ads"]["modalities"] == "video"


def test_a_destination_that_knows_no_names_goes_with_the_tables(
    load: Load, rack: RackDestination, instance: dg.DagsterInstance
) -> None:
    defs = load({"collections": ["ads"]}, destinations=[{"type": "box"}, {"type": "rack"}])
    assert sorted(made(defs)) == TABLES
    assert materialize(defs, instance, "ads").success
    assert rack.assets["ads"]


def test_an_index_says_what_changed_what_it_cost_and_how_far_queries_see_it(
    load: Load, source: ShelfSource, instance: dg.DagsterInstance
) -> None:
    defs = load({"collections": ["ads", "lectures"]}, destinations=BOTH)
    materialize(defs, instance, "lectures", select=INDEXES)
    source.assets["ads"]["bad"] = asset("bad", features=[feature("f0"), feature("f0")])
    materialize(defs, instance, "ads", select=INDEXES)
    said = recorded(instance, INDEXES[0])["ads"]
    expected = {
        "collection": "ads",
        "modalities": "audio, image, text, video",
        "index": "m-multimodal-v1",
        "namespace": "ads",
        "namespace_template": "{collection}",
        "dimension": 3,
        "metric": "cosine",
        "dagster/row_count": 16,
        "dagster/partition_row_count": 10,
        "inserted": 10,
        "updated": 0,
        "deleted": 0,
        "quarantined": 1,
        "requests": 2,
        "retries": 0,
        "sent_bytes": 200,
        "write_units": 5,
        "written_lsn": 7,
        "visible_lsn": 6,
        "assets_listed": 4,
    }
    assert {key: said.get(key) for key in expected} == expected
    assert "host" not in said
    none = recorded(instance, INDEXES[1])["ads"]
    assert (none["inserted"], none["dagster/row_count"], none["dagster/partition_row_count"]) == (0, 0, 0)


def test_rows_that_cannot_be_counted_are_left_out(
    load: Load, rack: RackDestination, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable() -> NoReturn:
        raise DestinationError("gone")

    monkeypatch.setattr(rack, "status", unreachable)
    assert materialize(load({"collections": ["ads"]}, destinations=BOTH), instance, "ads", select=INDEXES).success
    said = recorded(instance, INDEXES[0])["ads"]
    assert said["inserted"] == 9
    assert not said.keys() & {"dagster/row_count", "dagster/partition_row_count", "index"}


def test_two_indexes_of_one_vector_have_their_names_in_front(
    load: Load, rack: RackDestination, instance: dg.DagsterInstance
) -> None:
    rack.older = ["m-multimodal-v1-old"]
    assert materialize(load({"collections": ["ads"]}, destinations=[RACK]), instance, "ads", select=INDEXES).success
    said = recorded(instance, INDEXES[0])["ads"]
    assert (said["m-multimodal-v1/written_lsn"], said["m-multimodal-v1-old/dimension"]) == (7, 3)
    assert said["dagster/row_count"] == said["dagster/partition_row_count"] == 18


def test_tables_are_described_by_the_first_destination_that_has_them(
    load: Load, rack: RackDestination, instance: dg.DagsterInstance
) -> None:
    defs = load({"collections": ["ads"]}, destinations=[RACK, {"type": "box"}])
    assert materialize(defs, instance, "ads", select=[*TABLES, *INDEXES]).success
    said = recorded(instance, "media/video")["ads"]
    assert (said["inserted"], said["rack/inserted"], said["dagster/partition_row_count"]) == (6, 6, 6)
    assert rack.assets["ads"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_vector_that_turns_up_is_recorded_without_an_asset_of_its_own(
    load: Load, source: ShelfSource, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    monkeypatch.setattr("vectorferry.dagster._failures.RETRIES", dg.RetryPolicy(max_retries=0))
    if fails:
        source.errors["news"] = SourceError("503")
    vectors = {"new-model": np.ones(4, dtype=np.float32)}
    source.assets["ads"]["extra"] = asset("extra", features=[feature("f0", vectors=dict(vectors))])
    instance.add_dynamic_partitions("media_collections", ["ads", "lectures", "news"])
    defs = load({"collections": ["ads", "lectures", "news"]}, destinations=BOTH)
    assert materialize(defs, instance, "ads", "news", select=INDEXES).success is not fails
    said = recorded(instance, "media/rack/new_model")
    assert set(said) == {"ads"}
    assert (said["ads"]["inserted"], said["ads"]["dagster/partition_row_count"]) == (1, 1)
    assert set(recorded(instance, INDEXES[0])) == ({"ads", "lectures"} if fails else {"ads", "lectures", "news"})


class Prefixed(VectorferrySync):
    """A sync whose indexes have other keys."""

    def get_asset_spec(self, target: Any) -> dg.AssetSpec:
        spec = super().get_asset_spec(target)
        return spec.replace_attributes(key=spec.key.with_prefix("search")) if isinstance(target, VectorIndex) else spec


def test_a_subclass_decides_the_keys_of_indexes_those_that_turn_up_included(
    load: Load, instance: dg.DagsterInstance
) -> None:
    load()
    described = {"type": "rack", "vectors": ["other"]}
    sync = Prefixed(name="media", source={"type": "shelf", "collections": ["ads"]}, destinations=[described])
    defs = dg.build_defs_for_component(sync)
    assert materialize(defs, instance, "ads", select=["search/media/rack/other"]).success
    assert recorded(instance, "search/media/rack/multimodal_v1")["ads"]["inserted"] == 9


@pytest.mark.parametrize("url", [CANARY, "${LEDGER_URL}"])
def test_a_secret_in_settings_within_settings_is_hidden_and_used(
    load: Load, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("LEDGER_URL", CANARY)
    defs = load({"collections": ["ads"]}, destinations=[{**RACK, "ledger": {"url": url}}])
    shown = json.loads(configured(defs)["media_vectorferry"]["destinations"])[0]["ledger"]
    assert shown == {"url": "**********" if url == CANARY else url}
    assert materialize(defs, instance, "ads", select=INDEXES).success
    assert set(plugins.KEYS_SEEN) == {CANARY}
    assert CANARY not in everything_shown(defs, instance)
