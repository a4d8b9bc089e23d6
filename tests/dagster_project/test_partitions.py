from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import NoReturn

import dagster as dg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.connector.worlds import assets
from tests.dagster_project.conftest import Load
from tests.dagster_project.plugins import ShelfSource
from tests.dagster_project.running import failure_of, materialize, recorded
from tests.examples import family
from vectorferry.connector.plugin import MODALITIES, DestinationError, Listing
from vectorferry.connector.testing import MemoryDestination
from vectorferry.dagster._partitions import collection_of, partition_key

HOSTILE = [
    "",
    ".",
    "...",
    "a...b",
    "a|b",
    "a,b",
    "line\nbreak",
    "50%",
    "%7C",
    "%",
    "%~",
    "~",
    "späti",
    "a b",
    "\ud800",
    "-x",
]


@pytest.mark.parametrize("collection", ["quickstart", "col_0a1b2c3d", "My.Collection-2", "66f0c1d2e3"])
def test_an_ordinary_id_is_its_own_partition_key(collection: str) -> None:
    assert partition_key(collection) == collection


@pytest.mark.parametrize("collection", HOSTILE)
def test_a_hostile_id_becomes_a_key_that_dagster_takes(collection: str) -> None:
    key = partition_key(collection)
    assert re.fullmatch(r"[A-Za-z0-9_.~%-]+", key)
    assert ".." not in key


@given(st.text(), st.text())
def test_ids_never_share_a_key(one: str, other: str) -> None:
    assert (partition_key(one) == partition_key(other)) == (one == other)


@given(st.text() | st.from_regex(r"[a~%0-9A-F]{1,9}", fullmatch=True))
@example("é" * 50)  # of the seventeenth the key has one byte
@example("%FF")
def test_a_key_tells_its_id_or_that_it_cannot(text: str) -> None:
    """Keys come from ids; and from somebody who adds a partition in the UI, who may write anything."""
    assert collection_of(partition_key(text)) in {text, None}
    assert (told := collection_of(text)) is None or partition_key(told) == text


def test_a_very_long_id_gets_a_short_key_of_its_own() -> None:
    long, twin = "x" * 5_000, "x" * 5_001
    assert len(partition_key(long)) <= 200
    assert partition_key(long) != partition_key(twin)


@pytest.mark.parametrize(
    "collection", family(["späti", "y" * 300, "50% off", "a|b", "a...b", "${HOME}"], always=(0, 1))
)
def test_a_hostile_id_is_synced_under_its_own_name(
    load: Load, source: ShelfSource, box: MemoryDestination, instance: dg.DagsterInstance, collection: str
) -> None:
    source.assets[collection] = {each.asset_id: each for each in assets(2)}
    key = partition_key(collection)
    instance.add_dynamic_partitions("media_collections", [key])
    assert materialize(load(), instance, key).success
    assert set(box.assets) == {collection}
    assert recorded(instance, "media/video")[key]["collection"] == collection


def test_what_the_file_calls_by_name_is_stored_under_the_id(
    load: Load, source: ShelfSource, box: MemoryDestination, instance: dg.DagsterInstance
) -> None:
    source.names = {"My ads": "ads"}
    assert materialize(load({"collections": ["lectures", "My ads"]}), instance, "My%20ads").success
    assert set(box.assets) == {"ads"}


def test_one_collection_under_two_names_fills_both_partitions(
    load: Load, source: ShelfSource, box: MemoryDestination, instance: dg.DagsterInstance
) -> None:
    source.names = {"My ads": "ads"}
    instance.add_dynamic_partitions("media_collections", ["ads", "My%20ads"])
    assert materialize(load({"collections": ["ads", "My ads"]}), instance, "ads", "My%20ads").success
    assert set(recorded(instance, "media/video")) == {"ads", "My%20ads"}
    assert {name for name in box.assets if box.assets[name]} == {"ads"}


def test_a_collection_of_the_file_needs_nobody_to_add_it(load: Load, instance: dg.DagsterInstance) -> None:
    defs = load({"collections": ["ads", "lectures"]})
    assert materialize(defs, instance, "ads").success
    assert instance.get_dynamic_partitions("media_collections") == ["ads"]
    assert set(recorded(instance, "media/video")) == {"ads"}


def test_another_collection_has_to_be_added_first(load: Load, instance: dg.DagsterInstance) -> None:
    defs = load()
    with pytest.raises(dg.DagsterUnknownPartitionError):
        materialize(defs, instance, "ads")
    instance.add_dynamic_partitions("media_collections", ["ads"])
    assert materialize(defs, instance, "ads").success


def test_a_partition_that_never_was_a_collection_is_named(load: Load, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("media_collections", ["my ads"])
    said = failure_of(materialize(load(), instance, "my ads"))
    assert "partition my ads: the source has no such collection, and none was ever synced under this name" in said
    assert "lectures" not in said


def test_a_partition_that_the_file_does_not_name_is_refused(load: Load, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("media_collections", ["news"])
    result = materialize(load({"collections": ["ads"]}), instance, "news")
    assert "partition news: the file does not name this collection; delete the partition" in failure_of(result)


def test_a_collection_that_is_gone_stays_until_the_guard_lets_it_go(
    load: Load, source: ShelfSource, box: MemoryDestination, instance: dg.DagsterInstance
) -> None:
    instance.add_dynamic_partitions("media_collections", ["ads", "lectures", "news"])
    assert materialize(load(), instance, "ads", "news").success
    del source.assets["lectures"]
    said = failure_of(refused := materialize(load(), instance, "ads", "news"))
    assert not refused.success
    assert "1 of 3 collections failed" in said
    assert "lectures: box: nothing was deleted: the source no longer has the collection lectures" in said
    assert len(box.assets["lectures"]) == 2
    assert "lectures" in instance.get_dynamic_partitions("media_collections")
    allowed = load(deletes={"unguarded": ["lectures"]})
    assert materialize(allowed, instance, "ads", "news").success
    assert not box.assets["lectures"]
    assert recorded(instance, "media/video")["lectures"]["dagster/partition_row_count"] == 0
    assert instance.get_dynamic_partitions("media_collections") == ["ads", "news"]
    assert materialize(allowed, instance, "ads", "news").success


@pytest.mark.parametrize(
    ("collection", "is_wiped"),
    [("lectures", True), ("é" * 50, False), pytest.param("l" * 300, True, marks=pytest.mark.long)],
)
def test_a_collection_that_is_gone_is_settled_whatever_dagster_remembers_of_it(
    load: Load,
    source: ShelfSource,
    box: MemoryDestination,
    instance: dg.DagsterInstance,
    collection: str,
    is_wiped: bool,
) -> None:
    """Of assets with other keys it remembers as much as of wiped ones; of a long id the key holds a hash."""
    source.assets[collection] = source.assets.pop("lectures")
    key = partition_key(collection)
    defs = load(deletes={"unguarded": [collection]})
    instance.add_dynamic_partitions("media_collections", ["ads", key])
    assert materialize(defs, instance, "ads", key).success
    del source.assets[collection]
    if is_wiped:
        instance.wipe_assets([dg.AssetKey(["media", each.value]) for each in MODALITIES])
    assert materialize(defs, instance, "ads", key).success
    assert not box.assets[collection]
    assert instance.get_dynamic_partitions("media_collections") == ["ads"]


@pytest.mark.filterwarnings("ignore:.*varying BackfillPolicies")
def test_an_asset_with_partitions_of_that_name_goes_into_a_job_with_the_tables(
    load: Load, instance: dg.DagsterInstance
) -> None:
    @dg.asset(
        deps=[["media", "video"]],
        partitions_def=dg.DynamicPartitionsDefinition(name="media_collections"),
    )
    def captions() -> None: ...

    both = dg.define_asset_job("both", selection=["media/video", "captions"])
    defs = dg.Definitions.merge(load(), dg.Definitions([captions], jobs=[both]))
    instance.add_dynamic_partitions("media_collections", ["ads"])
    assert defs.resolve_job_def("both").execute_in_process(partition_key="ads", instance=instance).success
    assert set(recorded(instance, "media/video")) == set(recorded(instance, "captions")) == {"ads"}


@pytest.mark.filterwarnings("ignore:.*varying BackfillPolicies", "ignore:Parameter `backfill_policy`")
def test_a_partition_that_the_same_run_has_other_assets_of_does_not_retire(
    load: Load, source: ShelfSource, instance: dg.DagsterInstance
) -> None:
    """A later step looks its range up anew; the sync's own job settles the collection for good."""
    keys = list[str]()

    @dg.asset(
        deps=[["media", "video"]],
        partitions_def=dg.DynamicPartitionsDefinition(name="media_collections"),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def captions() -> None:
        keys.extend(dg.AssetExecutionContext.get().partition_keys)

    both = dg.define_asset_job("both", selection=["media/video", "captions"])
    defs = dg.Definitions.merge(load(), dg.Definitions([captions], jobs=[both]))
    source.assets["empty"] = {}
    instance.add_dynamic_partitions("media_collections", ["ads", "empty"])
    span = {"dagster/asset_partition_range_start": "ads", "dagster/asset_partition_range_end": "empty"}
    assert materialize(load(), instance, "ads", "empty").success
    del source.assets["empty"]
    assert defs.resolve_job_def("both").execute_in_process(tags=span, instance=instance).success
    assert keys == instance.get_dynamic_partitions("media_collections") == ["ads", "empty"]
    assert materialize(load(), instance, "ads", "empty").success
    assert instance.get_dynamic_partitions("media_collections") == ["ads"]


@pytest.mark.parametrize("is_stored", [True, False])
def test_of_partitions_that_dagster_forgot_a_destination_that_is_away_is_asked_once(
    load: Load,
    source: ShelfSource,
    box: MemoryDestination,
    rack: MemoryDestination,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    is_stored: bool,
) -> None:
    """To find out that it is away may take long; what others hold is settled there."""
    defs = load(destinations=[{"type": "box"}, {"type": "rack"}], deletes={"unguarded": ["lectures", "news"]})
    instance.add_dynamic_partitions("media_collections", ["ads", "lectures", "news"])
    if is_stored:
        assert materialize(defs, instance, "ads", "news").success
        instance.wipe_assets([dg.AssetKey(["media", each.value]) for each in MODALITIES])
    del source.assets["lectures"], source.assets["news"]
    monkeypatch.setattr("vectorferry.dagster._failures.RETRIES", dg.RetryPolicy(max_retries=0))
    tried = list[None]()

    def prepare(*_: object) -> NoReturn:
        tried.append(None)
        raise DestinationError("the box is away")

    monkeypatch.setattr(box, "prepare", prepare)
    said = failure_of(materialize(defs, instance, "ads", "news"))
    assert ("lectures: box: the box is away" if is_stored else "lectures: the box is away") in said
    assert {name for name, stored in rack.assets.items() if stored} == {"ads"}
    assert is_stored or len(tried) == 2, "once for what is stored, and once for the sync"
    assert "lectures" in instance.get_dynamic_partitions("media_collections")


@pytest.mark.long
def test_a_collection_that_is_gone_and_of_which_nothing_is_stored_retires(
    load: Load, source: ShelfSource, instance: dg.DagsterInstance
) -> None:
    source.assets["empty"] = {}
    instance.add_dynamic_partitions("media_collections", ["ads", "empty"])
    assert materialize(load(), instance, "ads", "empty").success
    del source.assets["empty"]
    assert materialize(load(), instance, "ads", "empty").success
    assert instance.get_dynamic_partitions("media_collections") == ["ads"]


def test_a_partition_that_goes_while_a_run_has_it_costs_the_run_nothing(
    load: Load, source: ShelfSource, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was deleted in the UI, say: the first one, the last one and one between."""
    instance.add_dynamic_partitions("media_collections", ["a", "b", "c", "d"])
    source.assets = dict.fromkeys("abcd", source.assets["ads"])
    scan = source.scan

    def scan_meanwhile(collection: str) -> AsyncIterator[Listing]:
        for key in "acd" if collection == "b" else "":
            instance.delete_dynamic_partition("media_collections", key)
        return scan(collection)

    monkeypatch.setattr(source, "scan", scan_meanwhile)
    assert materialize(load(), instance, "a", "d").success
    assert recorded(instance, "media/audio").keys() == {*"abcd"}


def test_a_partition_that_another_run_has_does_not_retire(
    load: Load, source: ShelfSource, instance: dg.DagsterInstance
) -> None:
    """One that is queued would end at its start: Dagster takes no range from a partition that is not there."""
    source.assets["empty"] = {}
    instance.add_dynamic_partitions("media_collections", ["empty", "ads"])
    assert materialize(load(), instance, "empty").success
    del source.assets["empty"]
    span = {"dagster/asset_partition_range_start": "empty", "dagster/asset_partition_range_end": "ads"}
    tables = frozenset({dg.AssetKey(["media", "video"])})
    other = dg.DagsterRun(
        job_name="backfill", status=dg.DagsterRunStatus.NOT_STARTED, tags=span, asset_selection=tables
    )
    instance.add_run(other)
    assert materialize(load(), instance, "empty").success
    assert instance.get_dynamic_partitions("media_collections") == ["empty", "ads"]
    instance.delete_run(other.run_id)
    assert materialize(load(), instance, "empty", "ads").success
    assert instance.get_dynamic_partitions("media_collections") == ["ads"]
