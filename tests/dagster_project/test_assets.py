from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import NoReturn

import dagster as dg
import numpy as np
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap

from tests.connector.worlds import asset, assets, content, feature
from tests.dagster_project import plugins
from tests.dagster_project.conftest import Load
from tests.dagster_project.plugins import ShelfSource
from tests.dagster_project.running import attempts, failure_of, materialize, recorded
from tests.examples import family
from vectorferry import Progress, SyncOptions, run_sync
from vectorferry.connector.plugin import (
    Applied,
    AssetState,
    Batch,
    CollectionError,
    CredentialsError,
    DestinationError,
    IncompleteScanError,
    LimitReachedError,
    Modality,
    RetryableError,
    SourceError,
    Vector,
    VectorferryError,
)
from vectorferry.connector.testing import MemoryDestination
from vectorferry.dagster import VectorferrySync, _failures
from vectorferry.dagster._run import ProgressLog
from vectorferry.destinations._postgres import parse_url

TABLES = ["audio", "image", "text", "video"]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries as in production, without the pause between them."""
    monkeypatch.setattr(_failures, "RETRIES", dg.RetryPolicy(max_retries=_failures.RETRIES.max_retries))


def logged(result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance, level: int) -> list[str]:
    records = instance.event_log_storage.get_logs_for_run(result.run_id)
    return [record.user_message for record in records if record.level == level and not record.dagster_event]


def test_every_table_is_an_asset_below_the_source(load: Load) -> None:
    specs = {spec.key.to_user_string(): spec for spec in load().resolve_all_asset_specs()}
    assert sorted(specs) == ["media/audio", "media/image", "media/source/shelf", "media/text", "media/video"]
    for table in TABLES:
        spec = specs[f"media/{table}"]
        assert [dep.asset_key.to_user_string() for dep in spec.deps] == ["media/source/shelf"]
        assert spec.kinds == {"python", "box"}
        assert spec.group_name == "media"
        assert isinstance(spec.partitions_def, dg.DynamicPartitionsDefinition)
        assert spec.partitions_def.name == "media_collections"


def test_a_limit_can_be_set_for_all_that_reads_one_kind_of_source(load: Load) -> None:
    assets = load().get_repository_def().assets_defs_by_key
    assert {assets[dg.AssetKey(["media", table])].op.pool for table in TABLES} == {"shelf"}


def test_what_the_ui_is_told_of_assets_can_be_told(load: Load) -> None:
    """It had shown `[ModalityTable] (unserializable)`, which Dagster will refuse one day."""
    told = RepositorySnap.from_def(load(checks={"quarantine": True}, sensors=["changes"]).get_repository_def())
    assert [node for node in told.asset_nodes if "unserializable" in str(node.metadata)] == []


def test_a_table_is_called_what_the_mapping_calls_it(load: Load, instance: dg.DagsterInstance) -> None:
    defs = load(
        {"collections": ["ads"]},
        modalities={"video": {"table": "clips", "columns": {"author": {"path": "metadata.author"}}}},
    )
    (spec,) = (spec for spec in defs.resolve_all_asset_specs() if spec.key.path[-1] == "clips")
    assert "author" in [column.name for column in spec.metadata["dagster/column_schema"].columns]
    assert materialize(defs, instance, "ads", select=["media/clips"]).success


def test_all_tables_are_filled_by_one_step_and_one_read(
    load: Load, source: ShelfSource, box: MemoryDestination, instance: dg.DagsterInstance
) -> None:
    result = materialize(load({"collections": ["ads"]}), instance, "ads")
    assert result.success
    assert {event.step_key for event in result.all_events if event.is_step_event} == {"media"}
    assert sorted(source.pulled) == ["a0000", "a0001", "a0002"]
    assert set(box.assets) == {"ads"}
    assert {event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key} == set(
        TABLES
    )


def test_a_run_leaves_what_the_engine_alone_would_have_left(
    load: Load, box: MemoryDestination, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:

    component = VectorferrySync(name="media", source={"type": "shelf"}, destinations=[{"type": "box"}])
    alone = MemoryDestination("box")
    with monkeypatch.context() as patch:
        patch.setitem(plugins.DESTINATIONS, "box", alone)
        run_sync(component.settings(), SyncOptions(collections=["ads"]))
    materialize(load({"collections": ["ads"]}), instance, "ads")
    assert content(box) == content(alone)


def test_only_the_selected_tables_are_synced(load: Load, box: MemoryDestination, instance: dg.DagsterInstance) -> None:
    result = materialize(load({"collections": ["ads"]}), instance, "ads", select=["media/image"])
    assert [event.asset_key.path for event in result.get_asset_materialization_events() if event.asset_key] == [
        ["media", "image"]
    ]
    assert {f.modality for a in box.assets["ads"].values() for f in a.features} == {Modality.IMAGE}


def test_a_materialization_says_what_changed_and_what_is_there(
    load: Load, source: ShelfSource, instance: dg.DagsterInstance
) -> None:
    defs = load({"collections": ["ads", "lectures"]})
    materialize(defs, instance, "lectures")
    materialize(defs, instance, "ads")
    source.assets["ads"]["a0000"] = asset("a0000", version=2)
    del source.assets["ads"]["a0002"]
    materialize(load({"collections": ["ads", "lectures"]}, deletes={"max_share": 1.0}), instance, "ads")
    said = recorded(instance, "media/video")["ads"]
    expected = {
        "inserted": 0,
        "updated": 2,
        "deleted": 2,
        "quarantined": 0,
        "assets_listed": 2,
        "assets_unchanged": 1,
        "assets_pulled": 1,
        "requests": 3,
        "dagster/row_count": 8,
        "dagster/partition_row_count": 4,
    }
    assert {key: said[key] for key in expected} == expected
    assert said["seconds"] > 0
    assert {"retries", "received_bytes", "vectors_written"} <= said.keys()
    assert "transcription" in [column.name for column in said["dagster/column_schema"].columns]


def test_a_second_run_finds_nothing_to_do(load: Load, source: ShelfSource, instance: dg.DagsterInstance) -> None:
    defs = load({"collections": ["ads"]})
    materialize(defs, instance, "ads")
    source.pulled.clear()
    assert materialize(defs, instance, "ads").success
    assert source.pulled == []
    assert recorded(instance, "media/video")["ads"]["assets_unchanged"] == 3


def test_several_partitions_in_one_run_have_counts_of_their_own(load: Load, instance: dg.DagsterInstance) -> None:
    names = ["ads", "lectures", "news"]
    instance.add_dynamic_partitions("media_collections", names)
    assert materialize(load({"collections": names}), instance, "ads", "news").success
    said = recorded(instance, "media/video")
    assert {key: said[key]["dagster/partition_row_count"] for key in said} == {"ads": 6, "lectures": 4, "news": 2}
    assert {said[key]["dagster/row_count"] for key in said} == {12}
    assert {key: said[key]["inserted"] for key in said} == {"ads": 6, "lectures": 4, "news": 2}


def test_a_run_observes_the_source(load: Load, instance: dg.DagsterInstance) -> None:
    materialize(load({"collections": ["ads"]}), instance, "ads")
    (record,) = instance.fetch_observations(dg.AssetKey(["media", "source", "shelf"]), limit=2).records
    assert record.asset_observation
    assert record.asset_observation.partition == "ads"
    assert record.asset_observation.metadata["assets_listed"].value == 3


def test_unfinished_assets_are_named(load: Load, source: ShelfSource, instance: dg.DagsterInstance) -> None:

    source.states = {"a0000": AssetState.PENDING, "a0001": AssetState.FAILED}
    materialize(load({"collections": ["ads"]}), instance, "ads")
    said = recorded(instance, "media/video")["ads"]
    assert (said["assets_pending"], said["assets_failed"]) == (1, 1)
    assert (said["assets_pending_ids"], said["assets_failed_ids"]) == (["a0000"], ["a0001"])


def test_a_bad_collection_does_not_cost_the_others_their_success(
    load: Load, source: ShelfSource, box: MemoryDestination, instance: dg.DagsterInstance
) -> None:
    source.errors["lectures"] = SourceError("the listing of lectures is broken")
    instance.add_dynamic_partitions("media_collections", ["ads", "lectures", "news"])
    result = materialize(load({"collections": ["ads", "lectures", "news"]}), instance, "ads", "news")
    assert not result.success
    assert "1 of 3 collections failed" in failure_of(result)
    assert "lectures: the listing of lectures is broken" in failure_of(result)
    said = recorded(instance, "media/video")
    assert set(said) == {"ads", "news"}
    assert said["news"]["dagster/partition_row_count"] == 2
    assert set(box.assets) == {"ads", "news"}


def test_what_was_finished_before_an_interrupt_is_recorded(
    load: Load, source: ShelfSource, instance: dg.DagsterInstance
) -> None:
    source.errors["lectures"] = KeyboardInterrupt()
    instance.add_dynamic_partitions("media_collections", ["ads", "lectures", "news"])
    result = materialize(load({"collections": ["ads", "lectures", "news"]}), instance, "ads", "news")
    assert not result.success
    assert set(recorded(instance, "media/video")) == {"ads"}


@pytest.mark.parametrize(
    ("error", "tried"),
    family(
        [
            (SourceError("503 for an hour"), 4),
            (CredentialsError("the key was refused"), 1),
            (CollectionError("403: the key may not list these"), 1),
            (RetryableError("busy", after=0.001), 4),
        ],
        (1, 3),
    ),
)
def test_only_what_may_get_better_is_tried_again(
    load: Load, source: ShelfSource, instance: dg.DagsterInstance, error: VectorferryError, tried: int
) -> None:
    source.errors["lectures"] = error
    result = materialize(load({"collections": ["lectures"]}), instance, "lectures")
    assert not result.success
    assert (len(source.scanned), attempts(result)) == (tried, tried)


def test_a_listing_that_stays_incomplete_fails_its_partition_and_says_why(
    load: Load, source: ShelfSource, instance: dg.DagsterInstance
) -> None:
    source.errors["ads"] = IncompleteScanError("8 listed, 10 announced")
    instance.add_dynamic_partitions("media_collections", ["ads", "news"])
    result = materialize(load({"collections": ["ads", "news"]}), instance, "ads", "news")
    assert not result.success
    assert "ads: 8 listed, 10 announced" in failure_of(result)
    assert set(recorded(instance, "media/video")) == {"news"}


def test_assets_that_cannot_be_read_fail_their_partition_and_are_tried_again(
    load: Load, source: ShelfSource, box: MemoryDestination, instance: dg.DagsterInstance
) -> None:
    instance.add_dynamic_partitions("media_collections", ["ads", "news"])
    source.unreadable = {"a0000": "503 for an hour"}
    result = materialize(load({"collections": ["ads", "news"]}), instance, "ads", "news")
    assert not result.success
    assert attempts(result) == 4
    assert "ads: 1 asset could not be read and stays as it is until a run can: a0000. It: 503 for an hour" in (
        failure_of(result)
    )
    assert not any(map(box.quarantine.get, box.quarantine))
    source.unreadable.clear()
    assert materialize(load({"collections": ["ads", "news"]}), instance, "ads", "news").success
    assert "a0000" in box.assets["ads"]


def test_a_refused_key_stops_the_step_at_once(
    load: Load, source: ShelfSource, box: MemoryDestination, instance: dg.DagsterInstance
) -> None:
    source.errors["lectures"] = CredentialsError("the key was refused")
    instance.add_dynamic_partitions("media_collections", ["ads", "lectures", "news"])
    materialize(load({"collections": ["ads", "lectures", "news"]}), instance, "ads", "news")
    assert set(recorded(instance, "media/video")) == {"ads"}
    assert set(box.assets) == {"ads"}


def test_a_limit_of_the_source_ends_the_step_for_good_and_says_when_to_come_back(
    load: Load, source: ShelfSource, instance: dg.DagsterInstance
) -> None:
    until = datetime(2026, 11, 22, 0, 2, 50, tzinfo=UTC)
    source.errors["lectures"] = LimitReachedError("closed until 2026-11-22 00:02:50 UTC", until=until)
    instance.add_dynamic_partitions("media_collections", ["ads", "lectures", "news"])
    result = materialize(load({"collections": ["ads", "lectures", "news"]}), instance, "ads", "news")
    assert attempts(result) == 1
    assert source.scanned == ["ads", "lectures"]
    assert set(recorded(instance, "media/video")) == {"ads"}
    said = failure_of(result)
    assert "closed until 2026-11-22 00:02:50 UTC" in said
    assert "What was read is written; the next run goes on from there." in said
    (event,) = (event for event in result.all_events if event.is_step_failure)
    told = event.step_failure_data.user_failure_data
    assert told is not None
    assert told.metadata["limited_until"].value == until.timestamp()


def test_records_in_quarantine_are_a_warning(load: Load, source: ShelfSource, instance: dg.DagsterInstance) -> None:
    source.assets["ads"]["bad"] = asset("bad", features=[feature("f0"), feature("f0")])
    result = materialize(load({"collections": ["ads"]}), instance, "ads")
    assert result.success
    assert any("quarantine of box" in line for line in logged(result, instance, logging.WARNING))
    assert recorded(instance, "media/video")["ads"]["quarantined"] == 1


def test_a_refused_delete_fails_the_run_for_good(
    load: Load, source: ShelfSource, box: MemoryDestination, instance: dg.DagsterInstance
) -> None:
    defs = load({"collections": ["ads"]})
    materialize(defs, instance, "ads")
    source.assets["ads"].clear()
    result = materialize(defs, instance, "ads")
    assert not result.success
    assert attempts(result) == 1
    assert "delete" in failure_of(result)
    assert len(box.assets["ads"]) == 3


class Broken(MemoryDestination):
    """Takes nothing."""

    def apply(self, batch: Batch) -> NoReturn:
        raise DestinationError(f"the store went away before {batch.collection} came")


def test_one_of_two_destinations_failing_fails_the_run(
    load: Load, box: MemoryDestination, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setitem(plugins.DESTINATIONS, "other", Broken("other"))
    defs = load({"collections": ["ads"]}, destinations=[{"type": "box"}, {"type": "box", "box": "other"}])
    result = materialize(defs, instance, "ads")
    assert not result.success
    assert "other: the store went away before ads came" in failure_of(result)
    assert len(box.assets["ads"]) == 3


def test_counts_of_a_second_destination_have_its_name_in_front(
    load: Load, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(plugins.DESTINATIONS, "other", MemoryDestination("other"))
    defs = load({"collections": ["ads"]}, destinations=[{"type": "box"}, {"type": "box", "box": "other"}])
    assert materialize(defs, instance, "ads").success
    said = recorded(instance, "media/video")["ads"]
    assert (said["inserted"], said["other/inserted"]) == (6, 6)


@pytest.mark.long
def test_hundreds_of_assets_need_only_a_few_log_lines(
    load: Load, source: ShelfSource, instance: dg.DagsterInstance
) -> None:
    source.assets["ads"] = {each.asset_id: each for each in assets(600)}
    result = materialize(load({"collections": ["ads"]}), instance, "ads")
    assert 1 <= len(logged(result, instance, logging.INFO)) <= 10


def test_a_log_line_has_the_rate_and_the_time_that_is_left() -> None:
    lines: list[str] = []
    seconds = iter([0.0, 20.0, 40.0])
    log = ProgressLog(lines.append, clock=lambda: next(seconds))
    log(Progress("ads"))
    log(Progress("ads", listed=300, to_pull=200, pulled=50, written=90))
    log(Progress("ads", listed=300, total=300, to_pull=300, pulled=100, written=190))
    assert [line.partition("written")[2] for line in lines] == ["", "; 2.5 assets/s", "; 2.5 assets/s, 0:01:20 left"]


def test_a_run_is_found_by_the_scan_it_made(load: Load, instance: dg.DagsterInstance) -> None:
    result = materialize(load({"collections": ["ads"]}), instance, "ads")
    run = instance.get_run_by_id(result.run_id)
    assert run
    assert run.tags["vectorferry/scan"] == "full"


def test_columns_say_where_they_come_from_and_what_may_be_missing(load: Load) -> None:
    defs = load(modalities={"video": {"columns": {"author": {"path": "metadata.author"}}}})
    (spec,) = (spec for spec in defs.resolve_all_asset_specs() if spec.key.path[-1] == "video")
    lineage = spec.metadata["dagster/column_lineage"].deps_by_column
    source = dg.AssetKey(["media", "source", "shelf"])
    assert lineage["author"] == [dg.TableColumnDep(asset_key=source, column_name="metadata.author")]
    nullable = {column.name: column.constraints.nullable for column in spec.metadata["dagster/column_schema"].columns}
    assert (nullable["feature_id"], nullable["author"]) == (False, True)


def test_records_in_quarantine_are_shown_as_a_table(
    load: Load, source: ShelfSource, instance: dg.DagsterInstance
) -> None:
    source.assets["ads"]["bad"] = asset("bad", features=[feature("f0"), feature("f0")])
    assert materialize(load({"collections": ["ads"]}), instance, "ads").success
    (row,) = recorded(instance, "media/video")["ads"]["set_aside"].records
    assert (row.data["asset"], row.data["reason"]) == ("bad", "duplicate_id")


class Picky(MemoryDestination):
    """Breaks at one collection, or at all of them."""

    def __init__(self, name: str, *broken: str) -> None:
        super().__init__(name)
        self.broken = broken

    def apply(self, batch: Batch) -> Applied:
        if batch.collection in self.broken:
            raise DestinationError(f"the disk was full when {batch.collection} came")
        return super().apply(batch)


NAMES = ["ads", "lectures", "news"]


@pytest.mark.parametrize("destinations", family([["other"], ["box", "other"]], (1,)))
@pytest.mark.long
def test_a_collection_that_breaks_a_destination_costs_the_others_nothing(
    load: Load, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, destinations: list[str]
) -> None:
    other = Picky("other", "lectures")
    monkeypatch.setitem(plugins.DESTINATIONS, "other", other)
    instance.add_dynamic_partitions("media_collections", NAMES)
    boxes = [{"type": "box", "box": name} for name in destinations]
    result = materialize(load({"collections": NAMES}, destinations=boxes), instance, "ads", "news")
    said = failure_of(result)
    assert "1 of 3 collections failed; the finished ones are recorded." in said
    assert "the disk was full when lectures came" in said
    assert {name for name in other.assets if other.assets[name]} == {"ads", "news"}
    assert set(recorded(instance, "media/video")) == {"ads", "news"}


def test_where_nothing_can_be_written_the_rest_is_not_tried(
    load: Load, source: ShelfSource, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"c{number}" for number in range(6)]
    source.assets = {name: {each.asset_id: each for each in assets(1)} for name in names}
    monkeypatch.setitem(plugins.DESTINATIONS, "box", Picky("box", *names))
    instance.add_dynamic_partitions("media_collections", names)
    said = failure_of(materialize(load({"collections": names}), instance, "c0", "c5"))
    assert "2 of 6 collections failed; 4 more were not tried; the finished ones are recorded." in said
    assert set(source.scanned) == {"c0", "c1"}
    assert recorded(instance, "media/video") == {}


HOSTILE_TEXT = "![x](https://evil.example/a.png) | <b>bold</b>\n# head `code` " + "long " * 100


def test_a_table_says_where_it_is_and_shows_some_rows(
    load: Load, source: ShelfSource, instance: dg.DagsterInstance, postgres_url: str, schema: str
) -> None:
    source.assets["ads"]["a0000"] = asset("a0000", features=[feature("s0", text=HOSTILE_TEXT)])
    destination = {"type": "pgvector", "url": postgres_url, "schema": schema}
    defs = load({"collections": ["ads"]}, destinations=[destination])
    assert materialize(defs, instance, "ads").success
    said = recorded(instance, "media/video")["ads"]
    assert said["dagster/uri"] == f"{parse_url(postgres_url).uri}?schema={schema}&table=video"
    assert "postgres@" not in said["dagster/uri"]
    assert said["source_console"] == "https://shelf.example/console/ads"
    lines = said["sample"].splitlines()
    assert lines[0].startswith(r"| asset\_id | feature\_id |")
    assert len(lines) == 5  # the head, and three rows
    assert r"\!\[x\]\(https\:\/\/evil\.example\/a\.png\) \| \<b\>bold\<\/b\> \# head" in lines[2]
    assert len(lines[2]) < 400
    assert materialize(defs, instance, "ads").success
    assert "sample" not in recorded(instance, "media/video")["ads"]  # nothing was written
    vectors: dict[str, Vector] = {"multimodal-v1": np.array([1, 2, 3], np.float32)}
    source.assets["ads"]["a0000"] = asset("a0000", 2, [feature("s0", text=HOSTILE_TEXT, vectors=vectors)])
    assert materialize(defs, instance, "ads").success
    said = recorded(instance, "media/video")["ads"]
    assert (said["updated"], said["vectors_written"]) == (0, 1)
    assert len(said["sample"].splitlines()) == 5


@pytest.mark.long
def test_a_file_may_ask_for_no_rows_to_be_shown(
    load: Load, instance: dg.DagsterInstance, postgres_url: str, schema: str
) -> None:
    destination = {"type": "pgvector", "url": postgres_url, "schema": schema}
    assert materialize(
        load({"collections": ["ads"]}, destinations=[destination], sample_rows=0), instance, "ads"
    ).success
    said = recorded(instance, "media/video")["ads"]
    assert said["inserted"] > 0
    assert "sample" not in said


@pytest.mark.long
def test_a_map_of_each_table_is_drawn_where_the_file_asks_for_it(
    load: Load, source: ShelfSource, instance: dg.DagsterInstance
) -> None:
    source.assets["ads"] = {each.asset_id: each for each in assets(12)}
    defs = load({"collections": ["ads", "news"]}, embedding_map=True)
    assert materialize(defs, instance, "ads", "news").success
    shown = recorded(instance, "media/video")
    assert shown["news"]["map/multimodal-v1"].startswith("![26 points](data:image/svg+xml;base64,")
    assert "map/multimodal-v1" not in shown["ads"]  # once for the table
    assert "map/multimodal-v1" in recorded(instance, "media/image")["news"]
    assert not any(name.startswith("map/") for name in recorded(instance, "media/audio")["news"])
    assert materialize(defs, instance, "news").success
    assert "map/multimodal-v1" not in recorded(instance, "media/video")["news"]  # nothing was written
