"""Submitting as an asset: URLs from the run's configuration, to a service that takes them in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import psycopg
import pytest

from tests.tables import row_counts
from vectorferry import parse_settings
from vectorferry.connector.sandbox import Fault, GeneratedIndexes, Sandbox, SandboxSettings, Status, running_sandbox
from vectorferry.dagster import VectorferryResource, build_submit_asset

ADDRESS = "https://media.example/new.mp4?signature=canary-signature"
KEY = dg.AssetKey(["media", "submit", "films"])
Submit = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    indexes = GeneratedIndexes(assets=2, segments_per_asset=1, dimension=4, indexes=("films",))
    with running_sandbox(SandboxSettings(generate_twelvelabs=indexes)) as running:
        yield running


@pytest.fixture
def submit(
    sandbox: Sandbox, postgres_url: str, schema: str, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> Submit:
    monkeypatch.setenv("TWELVELABS_API_KEY", sandbox.api_key)
    source = {"type": "twelvelabs", "base_url": sandbox.twelvelabs_url, "collections": ["films"]}
    destination = {"type": "pgvector", "url": postgres_url, "schema": schema}
    settings = parse_settings({"name": "media", "source": source, "destinations": [destination]}, "media.yaml")
    asset = build_submit_asset(settings, "films")

    def launch(*urls: str, **config: Any) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            [asset],
            instance=instance,
            resources={"vectorferry": VectorferryResource.of(settings)},
            run_config={"ops": {"media__submit__films": {"config": {"urls": list(urls), **config}}}},
            raise_on_error=False,
        )

    return launch


def told(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.get_asset_materialization_events()
    kept = event.materialization.metadata.items()
    return {name: value if name == "files" else value.value for name, value in kept}


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = (event for event in result.all_events if event.is_step_failure)
    assert event.step_failure_data.user_failure_data
    return str(event.step_failure_data.user_failure_data.description)


@pytest.mark.long
def test_addresses_are_submitted_and_what_is_ready_is_synced(
    submit: Submit, instance: dg.DagsterInstance, postgres_url: str, schema: str
) -> None:
    result = submit(ADDRESS, wait=True, sync=True)
    assert result.success
    said = told(result)
    assert (said["submitted"], said["ready"], said["failed"], said["synced_assets"]) == (1, 1, 0, 1)
    (row,) = said["files"].records
    assert (row.data["url"], row.data["state"]) == ("https://media.example/new.mp4", "ready")
    with psycopg.connect(postgres_url) as connection:
        assert row_counts(connection, schema)["assets"] == 1
    assert "canary-signature" not in str(instance.all_logs(result.run_id))
    again = told(submit(ADDRESS, wait=True))["files"].records[0].data
    assert (again["known"], again["asset_id"]) == ("True", row.data["asset_id"])


def test_what_fails_fails_the_step_once_everything_was_tried(
    submit: Submit, sandbox: Sandbox, instance: dg.DagsterInstance
) -> None:
    refused = Fault(route="twelvelabs.assets.create", containing="bad.mp4", do=Status(status=400))
    sandbox.faults.add(refused)
    result = submit("https://media.example/bad.mp4?key=canary-signature", "https://media.example/good.mp4")
    sandbox.faults.clear()
    said = failure(result)
    assert "https://media.example/bad.mp4: " in said
    assert "good.mp4" not in said
    assert "canary-signature" not in said
    assert "https://media.example/good.mp4: indexing" in str(instance.all_logs(result.run_id))


@pytest.mark.parametrize("url", ["ftp://media.example/a.mp4", "not an address", "https://"])
def test_what_is_no_address_is_refused_before_anything_is_sent(submit: Submit, sandbox: Sandbox, url: str) -> None:
    before = sandbox.requests.counts().get("twelvelabs.assets.create")
    assert "no http or https address" in failure(submit("https://media.example/early.mp4", url))
    assert sandbox.requests.counts().get("twelvelabs.assets.create") == before


def test_settings_that_the_service_does_not_take_are_named(submit: Submit) -> None:
    assert "settings: a source of type twelvelabs has none" in failure(submit(ADDRESS, settings={"nonsense": 1}))


def test_the_launchpad_describes_every_field() -> None:
    settings = parse_settings(
        {"name": "media", "source": {"type": "twelvelabs"}, "destinations": [{"type": "pgvector"}]}, "media.yaml"
    )
    op = build_submit_asset(settings, key=["inbox"]).op
    fields = op.config_schema.config_type.fields  # type: ignore[union-attr]
    assert fields.keys() == {"urls", "metadata", "settings", "again", "wait", "sync", "timeout"}
    assert all(field.description for field in fields.values())
    assert op.name == "inbox"
