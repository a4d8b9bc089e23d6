"""Every asset check, green on a sync that is as it should be, and red once something is broken on purpose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
import numpy as np
import psycopg
import pytest

from tests.connector.worlds import asset, feature
from tests.dagster_project import plugins
from tests.dagster_project.conftest import Load
from tests.dagster_project.plugins import ShelfSource
from tests.dagster_project.running import failure_of, materialize
from vectorferry.connector._engine.verify._source import REMAPPED
from vectorferry.connector.plugin import AssetState, Capability, ConfigurationError
from vectorferry.connector.testing import MemoryDestination

Checked = Callable[..., tuple[bool, str]]


def check(defs: dg.Definitions, instance: dg.DagsterInstance, name: str, table: str = "video") -> tuple[bool, str]:
    """Whether a check of a table passes, and what it says."""
    key = dg.AssetCheckKey(dg.AssetKey(["media", table]), name)
    job = defs.resolve_job_def("media_check").get_subset(asset_check_selection={key})
    (found,) = job.execute_in_process(instance=instance).get_asset_check_evaluations()
    return found.passed, found.description or ""


@pytest.fixture
def pgvector(load: Load, postgres_url: str, schema: str) -> Load:
    """Builds the definitions of a sync of `ads` into a real Postgres; keyword arguments are its checks."""

    def build(**checks: Any) -> dg.Definitions:
        destination = {"type": "pgvector", "url": postgres_url, "schema": schema}
        return load({"collections": ["ads"]}, destinations=[destination], checks=checks)

    return build


@pytest.fixture
def run_sql(postgres_url: str, schema: str) -> Callable[[str], None]:
    """Does to the schema of the test what somebody else might do."""

    def run(statement: str) -> None:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(f"SET search_path = {schema}, public")
            connection.execute(statement.encode())

    return run


def test_nothing_is_in_quarantine(load: Load, source: ShelfSource, instance: dg.DagsterInstance) -> None:
    defs = load({"collections": ["ads"]}, checks={"quarantine": True})
    assert materialize(defs, instance, "ads").success
    assert check(defs, instance, "quarantine") == (True, "")
    source.assets["ads"]["bad"] = asset("bad", features=[feature("f0"), feature("f0")])
    assert materialize(defs, instance, "ads").success
    passed, said = check(defs, instance, "quarantine")
    assert not passed
    assert said == "box: ads: duplicate_id: 1 records are in quarantine"


def test_a_check_changes_no_column_and_no_index(
    load: Load, postgres_url: str, schema: str, instance: dg.DagsterInstance
) -> None:
    """Whatever the file says by now: that is for the next sync."""

    def described(index: str) -> dg.Definitions:
        return load(
            {"collections": ["ads"]},
            destinations=[{"type": "pgvector", "url": postgres_url, "schema": schema}],
            modalities={"video": {"vectors": {"multimodal-v1": {"index": index}}}},
            checks={"quarantine": True},
        )

    def indexes() -> list[tuple[str]]:
        with psycopg.connect(postgres_url) as connection:
            return connection.execute("SELECT indexdef FROM pg_indexes WHERE schemaname = %s", [schema]).fetchall()

    assert materialize(described("hnsw"), instance, "ads").success
    before = indexes()
    key = dg.AssetCheckKey(dg.AssetKey(["media", "video"]), "quarantine")
    job = described("none").resolve_job_def("media_check").get_subset(asset_check_selection={key})
    assert "run `vectorferry sync` first" in failure_of(job.execute_in_process(instance=instance, raise_on_error=False))
    assert indexes() == before
    assert materialize(described("none"), instance, "ads").success
    assert indexes() != before


def test_nothing_stays_unfinished_at_the_source(load: Load, source: ShelfSource, instance: dg.DagsterInstance) -> None:
    defs = load({"collections": ["ads"]}, checks={"unfinished": {"hours": 1e-6}})
    patient = load({"collections": ["ads"]}, checks={"unfinished": {"hours": 1}})
    source.states = {"a0000": AssetState.PENDING, "a0001": AssetState.FAILED}
    for _ in range(2):
        assert materialize(defs, instance, "ads").success
    assert check(patient, instance, "unfinished") == (True, "")
    passed, said = check(defs, instance, "unfinished")
    assert not passed
    assert said.splitlines() == [
        "ads: failed for more than 1e-06 h: 1 assets",
        "ads: pending for more than 1e-06 h: 1 assets",
    ]
    source.states = {}
    assert materialize(defs, instance, "ads").success
    assert check(defs, instance, "unfinished") == (True, "")


@pytest.mark.long
def test_every_row_has_its_vectors(
    pgvector: Load, instance: dg.DagsterInstance, run_sql: Callable[[str], None]
) -> None:
    defs = pgvector(vectors=True)
    assert materialize(defs, instance, "ads").success
    assert check(defs, instance, "vectors") == (True, "")
    run_sql("DELETE FROM video__multimodal_v1 WHERE asset_id = 'a0000' AND feature_id = 's0'")
    passed, said = check(defs, instance, "vectors")
    assert (passed, said) == (False, "pgvector: ads: 6 rows and 5 vectors of multimodal-v1")
    assert check(defs, instance, "vectors", "image") == (True, "")
    assert not check(pgvector(vectors={"names": ["other-v1"]}), instance, "vectors")[0]


def test_what_is_stored_is_what_the_books_say(
    pgvector: Load, instance: dg.DagsterInstance, run_sql: Callable[[str], None]
) -> None:
    defs = pgvector(ledger=True)
    assert materialize(defs, instance, "ads").success
    assert check(defs, instance, "ledger") == (True, "")
    run_sql("UPDATE video SET text = 'somebody else wrote this' WHERE asset_id = 'a0000' AND feature_id = 's0'")
    passed, said = check(defs, instance, "ledger")
    assert not passed
    assert said == "ads: pgvector: different against ledger: 1 records"
    assert check(defs, instance, "ledger", "image") == (True, "")


def test_rows_of_another_mapping_are_not_called_different(
    load: Load, postgres_url: str, schema: str, instance: dg.DagsterInstance
) -> None:
    """Each partition has the mapping of its own last run."""

    def described(**columns: dict[str, str]) -> dg.Definitions:
        return load(
            {"collections": ["ads"]},
            destinations=[{"type": "pgvector", "url": postgres_url, "schema": schema}],
            modalities={"video": {"columns": columns}},
            checks={"ledger": True},
        )

    assert materialize(described(), instance, "ads").success
    key = dg.AssetCheckKey(dg.AssetKey(["media", "video"]), "ledger")
    job = described(heard={"path": "text"}).resolve_job_def("media_check").get_subset(asset_check_selection={key})
    (found,) = job.execute_in_process(instance=instance).get_asset_check_evaluations()
    assert found.passed, found.description
    notes = found.metadata["notes"].value
    assert notes == f"ads: pgvector: {REMAPPED}"
    assert materialize(described(heard={"path": "text"}), instance, "ads").success
    assert check(described(heard={"path": "text"}), instance, "ledger") == (True, "")


@pytest.mark.long
def test_what_is_stored_is_what_the_source_has(
    pgvector: Load, source: ShelfSource, instance: dg.DagsterInstance
) -> None:
    defs = pgvector(source={"sample": 5})
    assert materialize(defs, instance, "ads").success
    assert check(defs, instance, "source") == (True, "")
    source.assets["ads"]["new"] = asset("new")
    passed, said = check(defs, instance, "source")
    assert (passed, said) == (False, "ads: pgvector: missing against source: 1 records")


def test_every_destination_holds_the_same(
    load: Load, box: MemoryDestination, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(plugins.DESTINATIONS, "other", MemoryDestination("other"))
    both = [{"type": "box"}, {"type": "box", "box": "other"}]
    defs = load({"collections": ["ads"]}, destinations=both, checks={"destinations": True})
    assert materialize(defs, instance, "ads").success
    assert check(defs, instance, "destinations") == (True, "")
    box.remove("ads", ["a0000"])
    passed, said = check(defs, instance, "destinations")
    assert (passed, said) == (False, "ads: other: extra against box: 5 records")


def crowd(count: int) -> dict[str, Any]:
    """Assets of one feature each, with vectors that have no order."""
    numbers = np.random.default_rng(7).normal(size=(count, 16)).astype(np.float32)
    made = [
        asset(f"c{place:05}", features=[feature(f"f{place:05}", vectors={"multimodal-v1": vector})])
        for place, vector in enumerate(numbers)
    ]
    return {each.asset_id: each for each in made}


@pytest.mark.long
def test_searches_find_the_true_neighbours(
    load: Load,
    source: ShelfSource,
    instance: dg.DagsterInstance,
    postgres_url: str,
    schema: str,
    run_sql: Callable[[str], None],
) -> None:
    """Somebody builds the index anew in a hurry, and it no longer finds much."""
    source.assets["ads"] = crowd(3_000)
    defs = load(
        {"collections": ["ads"]},
        destinations=[{"type": "pgvector", "url": postgres_url, "schema": schema}],
        checks={"recall": {"queries": 10}},
    )
    assert materialize(defs, instance, "ads").success
    assert check(defs, instance, "recall") == (True, "")
    run_sql("DROP INDEX video__multimodal_v1_hnsw")
    run_sql(
        "CREATE INDEX video__multimodal_v1_hnsw ON video__multimodal_v1 USING hnsw (embedding vector_cosine_ops) "
        "WITH (m = 2, ef_construction = 4)"
    )
    passed, said = check(defs, instance, "recall")
    assert not passed
    assert "multimodal-v1: the index finds " in said
    assert "of the ten true neighbours, less than 95.0%" in said


@pytest.mark.long
def test_the_source_s_own_search_finds_the_same_neighbours(
    load: Load,
    source: ShelfSource,
    instance: dg.DagsterInstance,
    postgres_url: str,
    schema: str,
    run_sql: Callable[[str], None],
) -> None:
    """A model is replaced in the store, as when somebody has re-embedded half of it."""
    source.assets["ads"] = crowd(40)
    source.capabilities = source.capabilities | {Capability.NEIGHBOURS}
    defs = load(
        {"collections": ["ads"]},
        destinations=[{"type": "pgvector", "url": postgres_url, "schema": schema}],
        checks={"overlap": {"queries": 5}},
    )
    assert materialize(defs, instance, "ads").success
    assert check(defs, instance, "overlap") == (True, "")
    assert check(defs, instance, "overlap", "image") == (True, "")  # nothing to be compared
    run_sql(
        "UPDATE video__multimodal_v1 one SET embedding = other.embedding, vector_hash = other.vector_hash FROM "
        "video__multimodal_v1 other WHERE right(other.feature_id, 2)::int = 39 - right(one.feature_id, 2)::int"
    )
    passed, said = check(defs, instance, "overlap")
    assert not passed
    assert said.startswith("pgvector: ads: multimodal-v1: ")
    assert said.endswith("of the neighbours are those that the source's own search finds, less than 80.0%")


@pytest.mark.long
def test_a_source_without_a_search_is_said_to_have_none(pgvector: Load, instance: dg.DagsterInstance) -> None:
    defs = pgvector(overlap=True)
    assert materialize(defs, instance, "ads").success
    result = defs.resolve_job_def("media_check").execute_in_process(instance=instance, raise_on_error=False)
    assert "there is nothing to compare with" in failure_of(result)


@pytest.mark.long
def test_vectors_keep_their_shape(pgvector: Load, instance: dg.DagsterInstance, run_sql: Callable[[str], None]) -> None:
    """A model that was replaced without a word, and one that answers with zeros."""
    defs = pgvector(shape=True)
    assert materialize(defs, instance, "ads").success
    assert check(defs, instance, "shape")[0] is False  # the two segments of the sample media say the same
    defs = pgvector(shape={"repeated_share": 0.5})
    assert check(defs, instance, "shape") == (True, "")
    run_sql("UPDATE video__multimodal_v1 SET embedding = '[0,0,0]' WHERE asset_id = 'a0000' AND feature_id = 's0'")
    assert check(defs, instance, "shape") == (False, "multimodal-v1: 1 of 6 vectors are zero")
    run_sql("UPDATE video__multimodal_v1 SET embedding = '[-1,-500,1]'")
    passed, said = check(pgvector(shape={"repeated_share": 1}), instance, "shape")
    assert not passed
    assert "multimodal-v1: the mean vector has moved by 2.000 since the last check" in said


def test_every_collection_was_synced_not_long_ago(load: Load, instance: dg.DagsterInstance) -> None:
    defs = load({"collections": ["ads", "news"]}, checks={"fresh": {"hours": 1}})
    assert materialize(defs, instance, "ads").success
    assert check(defs, instance, "fresh") == (False, "not synced for more than 1 h: news")
    assert materialize(defs, instance, "news").success
    assert check(defs, instance, "fresh") == (True, "")
    hasty = load({"collections": ["ads", "news"]}, checks={"fresh": {"hours": 1e-9}})
    assert check(hasty, instance, "fresh") == (False, "not synced for more than 1e-09 h: ads, news")


def test_only_what_blocks_runs_with_the_sync_and_keeps_downstream_back(
    load: Load, source: ShelfSource, instance: dg.DagsterInstance
) -> None:
    source.assets["ads"]["bad"] = asset("bad", features=[feature("f0"), feature("f0")])

    @dg.asset(deps=[["media", "video"]])
    def report() -> None:
        raise AssertionError("made of what did not pass")

    checks = {"quarantine": {"blocking": True}, "fresh": {"severity": "warn"}}
    defs = dg.Definitions.merge(
        load({"collections": ["ads"]}, checks=checks),
        dg.Definitions([report], jobs=[dg.define_asset_job("all", dg.AssetSelection.all())]),
    )
    job = defs.resolve_job_def("media_sync")
    result = job.execute_in_process(partition_key="ads", instance=instance, raise_on_error=False)
    assert {each.check_name for each in result.get_asset_check_evaluations()} == {"quarantine"}
    assert not result.success
    everything = defs.resolve_job_def("all").execute_in_process(
        partition_key="ads", instance=instance, raise_on_error=False
    )
    assert not everything.success
    assert not [each for each in everything.all_events if each.step_key == "report" and each.is_step_start]


def test_a_step_makes_only_the_checks_that_are_selected(load: Load, instance: dg.DagsterInstance) -> None:
    defs = load({"collections": ["ads"]}, checks={"quarantine": True, "fresh": True})
    assert materialize(defs, instance, "ads").success
    one = dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey(["media", "video"]), "quarantine"))
    chosen = dg.Definitions.merge(defs, dg.Definitions(jobs=[dg.define_asset_job("one", one)]))
    result = chosen.resolve_job_def("one").execute_in_process(instance=instance)
    assert [each.check_name for each in result.get_asset_check_evaluations()] == ["quarantine"]


@pytest.mark.parametrize(
    ("checks", "said"),
    [
        ({"legder": True}, "checks.legder: "),
        ({"ledger": {"sampel": 1}}, "checks.ledger.sampel: "),
        ({"recall": {"at_least": 2}}, "checks.recall.at_least: "),
        ({"ledger": "yes"}, "checks.ledger: "),
    ],
)
def test_a_check_that_is_none_is_said_so(load: Load, checks: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load(checks=checks)


def test_two_syncs_may_have_the_same_checks(load: Load) -> None:
    every = {"quarantine": True, "ledger": True}
    dg.Definitions.validate_loadable(dg.Definitions.merge(load(checks=every), load(name="other", checks=every)))
