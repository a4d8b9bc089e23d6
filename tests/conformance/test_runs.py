"""Every destination keeps what became of each collection in its last runs, under the run's id and who ran it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.connector.worlds import assets
from vectorferry import SyncOptions
from vectorferry.connector.plugin import (
    Capability,
    CollectionError,
    CredentialsError,
    DeleteGuard,
    Destination,
    DestinationError,
    LimitReachedError,
    RecordedRun,
    SchemaMapping,
    SourceError,
)
from vectorferry.connector.testing import MemorySource, sync

from .conftest import Open, pinecone_is_long

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def books(destination: Any) -> Destination:
    assert isinstance(destination, Destination)
    assert Capability.RUNS in destination.capabilities
    return destination


def run(run_id: str, collection: str = "ads", minutes: int = 0, **more: Any) -> RecordedRun:
    started = NOW + timedelta(minutes=minutes)
    values: dict[str, Any] = {"state": "done", "counts": {"listed": 3}, "started_by": "cli"}
    return RecordedRun(run_id, collection, started, started + timedelta(seconds=5), **{**values, **more})


class Breaking(MemorySource):
    """Cannot list what it is told not to."""

    def __init__(self, errors: dict[str, Exception], *names: str) -> None:
        super().__init__({name: assets(1) for name in names})
        self._errors = errors

    async def scan(self, collection: str) -> Any:
        if error := self._errors.get(collection):
            raise error
        async for listing in super().scan(collection):
            yield listing


def test_what_is_recorded_is_read_newest_first_or_since_a_time(prepared: Open) -> None:
    first = books(prepared())
    first.record_runs([run("r1"), run("r1", "films")])
    first.record_runs([run("r2", minutes=15, state="failed", counts={"features": {"video": {"inserted": 1}}})])
    again = books(prepared())
    newest = again.runs()
    assert [(each.run_id, each.collection) for each in newest] == [("r2", "ads"), ("r1", "films"), ("r1", "ads")]
    assert (newest[0].state, newest[0].counts) == ("failed", {"features": {"video": {"inserted": 1}}})
    assert newest[0].started_at == NOW + timedelta(minutes=15)
    assert newest[0].recorded_at
    assert [each.run_id for each in again.runs(limit=1)] == ["r2"]
    since = again.runs(since=newest[0].recorded_at)
    assert [each.run_id for each in since] == ["r2"]
    assert [each.run_id for each in again.runs(since=NOW - timedelta(days=365 * 50))] == ["r1", "r1", "r2"]
    assert [each.run_id for each in again.runs(collection="ads")] == ["r2", "r1"]
    assert [each.run_id for each in again.runs(limit=1, collection="films")] == ["r1"]


def test_the_same_run_again_takes_the_place_of_what_was_recorded(prepared: Open) -> None:
    destination = books(prepared())
    destination.record_runs([run("r1", state="failed")])
    destination.record_runs([run("r1", minutes=1)])
    (only,) = destination.runs()
    assert (only.state, only.started_at) == ("done", NOW + timedelta(minutes=1))


@pytest.mark.parametrize("kind", ["pgvector", pytest.param("pinecone", marks=pytest.mark.long)])
def test_only_the_newest_of_each_collection_stay(new_place: Any, kind: str) -> None:
    destination = new_place(kind)()
    destination.prepare(SchemaMapping())
    destination.record_runs([run("other", "films")])
    for number in range(105):
        destination.record_runs([run(f"r{number:03}")])
    kept = [each.run_id for each in books(destination).runs()]
    assert sorted(kept) == ["other", *(f"r{number:03}" for number in range(5, 105))]


@pinecone_is_long
async def test_a_run_enters_each_of_its_collections(prepared: Open) -> None:
    source = MemorySource({"ads": assets(3), "films": assets(2)})
    summary = await sync(source, [prepared()], SyncOptions(run_id="run-of-dagster", started_by="dagster"), name="m")
    assert (summary.run_id, summary.to_dict()["run_id"]) == ("run-of-dagster", "run-of-dagster")
    runs = {each.collection: each for each in books(prepared()).runs()}
    assert runs.keys() == {"ads", "films"}
    assert {(each.run_id, each.state, each.started_by) for each in runs.values()} == {
        ("run-of-dagster", "done", "dagster")
    }
    counts = runs["ads"].counts
    assert (counts["scan"], counts["listed"], counts["pulled"]) == ("full", 3, 3)
    assert counts["features"]["video"]["inserted"] == 6
    assert counts["vectors_written"] == {"multimodal-v1": 9}
    assert runs["ads"].started_at <= runs["ads"].ended_at
    unchanged = await sync(source, [prepared()], name="m")
    newest = books(prepared()).runs()[0]
    assert (newest.run_id, newest.started_by, newest.counts["unchanged"]) == (unchanged.run_id, "python", 2)


@pinecone_is_long
async def test_a_run_says_what_went_wrong(prepared: Open) -> None:
    source = Breaking({"bad": CollectionError("403"), "limited": LimitReachedError("enough")}, "bad", "good", "limited")
    await sync(source, [prepared()], name="m")
    assert {each.collection: each.state for each in books(prepared()).runs()} == {
        "bad": "failed",
        "good": "done",
        "limited": "limited",
    }


@pinecone_is_long
@pytest.mark.parametrize("error", [CredentialsError("401"), SourceError("503")])
async def test_a_run_that_raises_is_recorded_too(prepared: Open, error: Exception) -> None:
    with pytest.raises(type(error)):
        await sync(Breaking({"ads": error}, "ads"), [prepared()], name="m")
    assert [(each.collection, each.state) for each in books(prepared()).runs()] == [("ads", "failed")]


@pinecone_is_long
async def test_a_guard_that_refuses_is_told(prepared: Open) -> None:
    source = MemorySource({"ads": assets(10)})
    await sync(source, [prepared()], name="m")
    source.assets["ads"] = {}
    await sync(source, [prepared()], name="m", deletes=DeleteGuard())
    assert books(prepared()).runs()[0].state == "refused"


async def test_where_the_run_cannot_be_recorded_it_was_made_all_the_same(
    prepared: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = prepared()

    def refuse(_: Any) -> None:
        raise DestinationError("permission denied for table _sync_runs")

    monkeypatch.setattr(destination, "record_runs", refuse)
    summary = await sync(MemorySource({"ads": assets(2)}), [destination], name="m")
    assert summary.exit_code == 0
    (said,) = summary.destinations.values()
    assert said.notes == ["the run is not in the record of runs: permission denied for table _sync_runs"]
