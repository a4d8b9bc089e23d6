"""The asset check that says who else may do something with what a sync has stored."""

from __future__ import annotations

from contextlib import closing

import dagster as dg
import psycopg
import pytest

from tests.dagster_project.running import failure_of, materialize
from tests.dagster_project.test_component import loaded
from tests.security.test_neighbours import TRIGGERS, Database, caught, database, plant  # noqa: F401 - a fixture
from vectorferry.connector.plugin import SchemaMapping
from vectorferry.destinations import PgvectorDestination

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")  # of the sandbox of components

KEY = dg.AssetKey(["media", "source", "sandbox"])


def test_the_check_tells_what_the_command_tells(postgres_url: str, schema: str) -> None:
    destination = {"type": "pgvector", "url": postgres_url, "schema": schema}
    with loaded({"name": "media", "source": {"type": "sandbox"}, "destinations": [destination]}) as defs:
        job = dg.define_asset_job("check", selection=dg.AssetSelection.checks_for_assets(KEY))
        check = dg.Definitions.merge(defs, dg.Definitions(jobs=[job])).resolve_job_def("check")
        with closing(PgvectorDestination(schema, postgres_url)) as pgvector:
            nothing = check.execute_in_process(raise_on_error=False)
            pgvector.prepare(SchemaMapping())
        with psycopg.connect(postgres_url, autocommit=True) as owner:
            owner.execute(f"GRANT INSERT ON {schema}.video TO PUBLIC")
        (evaluation,) = check.execute_in_process().get_asset_check_evaluations()
    assert "run `vectorferry sync` first" in str(nothing.all_events[-2:])
    assert (evaluation.check_name, evaluation.passed, evaluation.asset_key) == ("security", False, KEY)
    assert "everybody has INSERT" in str(evaluation.metadata["findings"].value)


@pytest.mark.parametrize("database", ["loader, public"], indirect=True)
@pytest.mark.long
def test_a_run_does_not_run_what_a_neighbour_has_planted(
    database: Database,  # noqa: F811
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vectorferry.dagster._failures.RETRIES", dg.RetryPolicy(max_retries=0))
    plant(database, *TRIGGERS)
    destination = {"type": "pgvector", "url": database.url, "schema": "media"}
    with loaded({"name": "media", "source": {"type": "sandbox"}, "destinations": [destination]}) as defs:
        instance.add_dynamic_partitions("media_collections", ["quickstart"])
        result = materialize(defs, instance, "quickstart")
    assert database.neighbour in failure_of(result)
    assert caught(database, {}) == []
