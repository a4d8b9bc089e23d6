from __future__ import annotations

import json
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap

from tests.dagster_project import plugins
from tests.dagster_project.conftest import Load
from tests.dagster_project.plugins import ShelfSource
from tests.dagster_project.running import attempts, failure_of, materialize
from vectorferry.connector.plugin import ConfigurationError, SourceError
from vectorferry.dagster import VectorferryResource

CANARY = "sk-canary-4f1d"
LITERAL = {
    "source": {"api_key": CANARY, "collections": ["ads"]},
    "destinations": [{"type": "box", "url": f"pg://u:{CANARY}@h/d"}],
}
NAMED: dict[str, Any] = {
    "source": {"api_key": "${SHELF_KEY}", "collections": ["ads"]},
    "destinations": [{"type": "box", "url": "${BOX_URL}"}],
}


def configured(defs: dg.Definitions) -> dict[str, dict[str, Any]]:
    """What the UI shows of each resource."""
    snap = RepositorySnap.from_def(defs.get_repository_def())
    assert snap.resources is not None
    return {resource.name: resource.configured_values for resource in snap.resources}


def everything_shown(defs: dg.Definitions, instance: dg.DagsterInstance) -> str:
    """All that Dagster stores and serves of a project: its snapshot, and every event of every run."""
    snap = dg.serialize_value(RepositorySnap.from_def(defs.get_repository_def()))
    logs = [instance.event_log_storage.get_logs_for_run(run.run_id) for run in instance.get_runs()]
    runs = [dg.serialize_value(run) for run in instance.get_runs()]
    return "\n".join([snap, *runs, *(dg.serialize_value(entry) for log in logs for entry in log)])


def test_the_ui_shows_the_names_of_variables(load: Load) -> None:
    shown = configured(load(**NAMED))
    source, destinations = (json.loads(shown["media_vectorferry"][part]) for part in ("source", "destinations"))
    assert source == {"type": "shelf", "api_key": "${SHELF_KEY}", "collections": ["ads"]}
    assert destinations == [{"type": "box", "url": "${BOX_URL}"}]


@pytest.mark.parametrize("fails", [False, True])
def test_a_key_is_nowhere_to_be_seen(
    load: Load, source: ShelfSource, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    monkeypatch.setattr("vectorferry.dagster._failures.RETRIES", dg.RetryPolicy(max_retries=0))
    monkeypatch.setenv("SHELF_KEY", CANARY)
    monkeypatch.setenv("BOX_URL", CANARY)
    if fails:
        source.errors["ads"] = SourceError("503")
    for attributes in (LITERAL, NAMED):
        defs = load(**attributes)
        assert materialize(defs, instance, "ads").success is not fails
        assert CANARY not in everything_shown(defs, instance)
    assert set(plugins.KEYS_SEEN) == {CANARY}


def test_a_key_written_into_the_file_is_masked_and_used(load: Load, instance: dg.DagsterInstance) -> None:
    defs = load(**LITERAL)
    assert json.loads(configured(defs)["media_vectorferry"]["source"])["api_key"] == "**********"
    assert materialize(defs, instance, "ads").success
    assert set(plugins.KEYS_SEEN) == {CANARY}


def test_definitions_load_with_secrets_unset_and_the_run_names_what_is_missing(
    load: Load, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHELF_KEY", raising=False)
    monkeypatch.setenv("BOX_URL", "x")
    defs = load(**NAMED)
    dg.Definitions.validate_loadable(defs)
    result = materialize(defs, instance, "ads")
    assert not result.success
    assert attempts(result) == 1
    assert "source.api_key: environment variable SHELF_KEY is not set" in failure_of(result)


def replaced(**source: Any) -> dict[str, VectorferryResource]:
    """The sync's resource with another source."""
    source = {"type": "shelf", "collections": ["ads"], **source}
    return {"media_vectorferry": VectorferryResource(source=source, **OTHERWISE)}


OTHERWISE: dict[str, Any] = {"destinations": [{"type": "box"}], "options": {"name": "media"}}


def test_a_resource_may_be_replaced_for_a_run(
    load: Load, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", "another key")
    assert materialize(load(**LITERAL), instance, "ads", resources=replaced(api_key="${OTHER_KEY}")).success
    assert set(plugins.KEYS_SEEN) == {"another key"}


def test_a_replaced_resource_that_does_not_fit_fails_the_run_once(load: Load, instance: dg.DagsterInstance) -> None:
    result = materialize(load(**LITERAL), instance, "ads", resources=replaced(api_keyy="x"))
    assert attempts(result) == 1
    assert "source.api_keyy: unknown key" in failure_of(result)


def test_what_only_the_file_knows_is_not_asked_for_with_the_mask(load: Load) -> None:
    resource = (load(**LITERAL).resources or {})["media_vectorferry"]
    with pytest.raises(ConfigurationError, match=r"source\.api_key, destinations\.0\.url: .*use \$\{NAME\}"):
        resource.verify()


@pytest.mark.long
def test_nothing_of_a_real_address_is_in_what_a_run_leaves(
    load: Load, instance: dg.DagsterInstance, postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With everything that says where things are: addresses, samples, checks."""
    monkeypatch.setenv("DATABASE_URL", f"{postgres_url}&password={CANARY}")
    destination = {"type": "pgvector", "url": "${DATABASE_URL}", "schema": schema}
    checks = {"ledger": True, "vectors": True, "fresh": True}
    defs = load({"collections": ["ads"]}, destinations=[destination], checks=checks)
    assert materialize(defs, instance, "ads").success
    assert defs.resolve_job_def("media_check").execute_in_process(instance=instance).success
    shown = everything_shown(defs, instance)
    assert "dagster/uri" in shown
    assert CANARY not in shown
