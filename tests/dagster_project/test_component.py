from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster.components.testing import create_defs_folder_sandbox
from pydantic import TypeAdapter

from tests.dagster_project.conftest import Load
from tests.dagster_project.plugins import ShelfSource
from tests.dagster_project.running import attempts, materialize, recorded
from vectorferry import SyncSettings, load_settings
from vectorferry.connector._config._load import ONLY_FOR_DAGSTER
from vectorferry.connector.plugin import SourceError
from vectorferry.dagster import Target, VectorferryResource, VectorferrySync

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")  # of its own classes

WITH_KEY = {"type": "shelf", "api_key": "sk-canary"}
SHELF = {"type": "shelf", "api_key": "${SHELF_KEY}"}
SMALLEST: dict[str, Any] = {"name": "media", "source": SHELF, "destinations": [{"type": "box", "url": "${BOX_URL}"}]}


@contextmanager
def loaded(attributes: Mapping[str, Any]) -> Iterator[dg.Definitions]:
    """The definitions of a project with one ``defs.yaml``."""
    with create_defs_folder_sandbox() as sandbox:
        contents = {"type": "vectorferry.dagster.VectorferrySync", "attributes": dict(attributes)}
        path = sandbox.scaffold_component(VectorferrySync, defs_yaml_contents=contents)
        with sandbox.load_component_and_build_defs(defs_path=path) as (_, defs):
            yield defs


def test_a_file_loads_with_its_secrets_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHELF_KEY", raising=False)
    with loaded(SMALLEST) as defs:
        dg.Definitions.validate_loadable(defs)
        assert {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()} >= {"media/video", "media/text"}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"sceduled": "@daily"}, "defs.yaml: sceduled: unknown key; did you mean schedule?"),
        ({"source": {**SHELF, "collectionz": ["x"]}}, "source.collectionz: unknown key; did you mean collections?"),
        ({"source": {"type": "shelff"}}, "source.type: unknown source type"),
        ({"source": "sk-canary"}, "source: should be a mapping"),
        ({"destinations": {"type": "box", "url": "sk-canary"}}, "destinations: should be a list"),
        ({"destinations": [{"type": "box", "urll": "sk-canary"}]}, "destinations[0].urll: unknown key"),
        ({"modalities": {"vidoe": {}}}, "modalities.vidoe: unknown key; did you mean video?"),
        ({"batch": {"rows": "sk-canary"}}, "batch.rows: should be a whole number"),
        ({"name": "Not a name"}, "name: "),
        ({"schedule": "sk-canary"}, "schedule: is no cron expression"),
    ],
)
def test_a_mistake_is_reported_with_file_and_key_and_without_the_value(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(Exception) as caught, loaded({**SMALLEST, **wrong}):
        pass
    text = "".join(traceback.format_exception(caught.value))
    assert told in text
    assert "sk-canary" not in text


def test_editors_get_a_schema_with_every_attribute() -> None:
    schema = TypeAdapter(VectorferrySync.model()).json_schema()
    assert schema["properties"].keys() == {*SyncSettings.model_fields, *ONLY_FOR_DAGSTER}
    assert schema["additionalProperties"] is False
    assert all("description" in each for each in schema["properties"].values())


def test_templates_of_dagster_are_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_NAME", "from_env")
    with loaded({**SMALLEST, "name": "{{ env.SYNC_NAME }}"}) as defs:
        assert defs.resolve_job_def("from_env_sync")


@pytest.mark.parametrize(("attributes", "executor"), [({}, "in_process"), ({"workers": 1}, "multiprocess")])
def test_steps_are_where_the_location_puts_them_once_workers_are_named(
    attributes: dict[str, Any], executor: str
) -> None:
    with loaded({**SMALLEST, **attributes}) as defs:
        location = dg.Definitions.merge(defs, dg.Definitions(executor=dg.multiprocess_executor))
        assert location.resolve_job_def("media_sync").executor_def.name == executor


class Owned(VectorferrySync):
    """A sync with an owner."""

    owner: str

    def get_asset_spec(self, target: Target) -> dg.AssetSpec:
        return super().get_asset_spec(target).replace_attributes(owners=[self.owner], group_name="shared")

    def execute(self, context: dg.AssetExecutionContext, vectorferry: VectorferryResource) -> Any:
        context.log.info(f"for {self.owner}")
        yield from super().execute(context, vectorferry)


def test_an_asset_refers_to_the_file_that_describes_it() -> None:
    with loaded(SMALLEST) as defs:
        (video,) = (spec for spec in defs.resolve_all_asset_specs() if spec.key.path[-1] == "video")
        (reference,) = video.metadata["dagster/code_references"].code_references
        assert reference.file_path.endswith("defs.yaml")


@pytest.mark.usefixtures("load")
def test_a_subclass_may_change_how_assets_look_and_what_a_run_does(instance: dg.DagsterInstance) -> None:
    attributes = {
        "name": "media",
        "source": {"type": "shelf", "collections": ["ads"]},
        "destinations": [{"type": "box"}],
    }
    with create_defs_folder_sandbox() as sandbox:
        contents = {"type": f"{__name__}.Owned", "attributes": {**attributes, "owner": "team:search"}}
        path = sandbox.scaffold_component(Owned, defs_yaml_contents=contents)
        with sandbox.load_component_and_build_defs(defs_path=path) as (_, defs):
            owners = {tuple(spec.owners) for spec in defs.resolve_all_asset_specs() if spec.group_name == "shared"}
            assert owners == {("team:search",)}
            assert materialize(defs, instance, "ads").success
            assert recorded(instance, "media/video")["ads"]["dagster/partition_row_count"] == 6


def test_two_syncs_live_side_by_side(load: Load) -> None:
    both = dg.Definitions.merge(load(), load(name="other"))
    dg.Definitions.validate_loadable(both)
    assert sorted(both.resources or {}) == ["media_vectorferry", "other_vectorferry"]


LOOKS: dict[str, Any] = {
    "translation": {
        "key": "raw/{{ target.name }}",
        "group_name": "search",
        "owners": ["team:search"],
        "tags": {"tier": "gold"},
        "description": "all {{ target.name }}",
        "automation_condition": "{{ dg.AutomationCondition.eager() }}",
    },
    "op": {
        "name": "fill_media",
        "tags": {"team": "search"},
        "pool": "media_api",
        "retries": 1,
        "backfill_policy": {"type": "multi_run", "max_partitions_per_run": 2},
    },
    "schedule": {"cron": "@daily", "timezone": "Europe/Berlin", "per_run": 20},
    "freshness": {"fail_after_hours": 24, "warn_after_hours": 12},
}


def test_a_file_says_how_assets_look_and_how_their_step_runs() -> None:
    with loaded({**SMALLEST, **LOOKS}) as defs:
        (spec,) = (spec for spec in defs.resolve_all_asset_specs() if spec.key.to_user_string() == "raw/video")
        assets = defs.get_repository_def().assets_defs_by_key[spec.key]
    assert (spec.group_name, spec.owners, spec.description) == ("search", ["team:search"], "all video")
    assert spec.tags["tier"] == "gold"
    assert spec.tags["vectorferry/modality"] == "video"
    assert spec.automation_condition is not None
    assert spec.freshness_policy == dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=24), warn_window=timedelta(hours=12)
    )
    assert (assets.op.name, assets.op.pool, assets.op.tags["team"]) == ("fill_media", "media_api", "search")
    assert assets.backfill_policy == dg.BackfillPolicy.multi_run(2)


@pytest.mark.usefixtures("load")
def test_a_file_says_how_often_a_step_is_tried_again(
    source: ShelfSource, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vectorferry.dagster._failures.RETRIES", dg.RetryPolicy(max_retries=3))
    monkeypatch.setenv("SHELF_KEY", "x")
    source.errors["ads"] = SourceError("503")
    shelf = {"type": "shelf", "collections": ["ads"]}
    with loaded({**SMALLEST, "source": shelf, "destinations": [{"type": "box"}], "op": {"retries": 1}}) as defs:
        assert attempts(materialize(defs, instance, "ads")) == 2


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"translation": {"grup": "x"}}, "translation.grup"),
        (
            {"translation": {"key": "{{ targett.name }}"}},
            "translation: 'targett' is undefined",
        ),
        ({"op": {"retires": 1}}, "op.retires"),
        ({"freshness": {"fail_after_hours": "soon"}}, "fail_after_hours: Input should be a valid number"),
        ({"schedule": {"per_run": 0, "cron": "@daily"}}, "schedule.per_run"),
    ],
)
def test_a_mistake_in_what_only_dagster_is_told_is_reported_with_its_key(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(Exception) as caught, loaded({**SMALLEST, "source": WITH_KEY, **wrong}):
        pass
    text = "".join(traceback.format_exception(caught.value))
    assert told in text
    assert "sk-canary" not in text


def test_the_command_takes_the_file_with_what_only_dagster_is_told(tmp_path: Path) -> None:
    (tmp_path / "defs.yaml").write_text(yaml.safe_dump({"type": "x", "attributes": {**SMALLEST, **LOOKS}}))
    settings = load_settings(tmp_path / "defs.yaml")
    assert settings.schedule
    assert settings.schedule.per_run == 20


@pytest.mark.parametrize("lines", ["as it is", "switched on"])
def test_what_is_scaffolded_loads(lines: str) -> None:
    with create_defs_folder_sandbox() as sandbox:
        path = sandbox.scaffold_component(VectorferrySync, defs_path="9 Films!")
        file = path / "defs.yaml"
        if lines == "switched on":
            file.write_text(re.sub(r"^( *)# (?=( *)(- )?[a-z_]+:)", r"\1", file.read_text(), flags=re.MULTILINE))
        with sandbox.load_component_and_build_defs(defs_path=path) as (component, defs):
            assert isinstance(component, VectorferrySync)
            assert component.name == "sync_9_films"
            dg.Definitions.validate_loadable(defs)
        assert load_settings(file).source.type == "sandbox"


@pytest.mark.usefixtures("load")
@pytest.mark.parametrize("condition", ["eager()", "on_cron('0 * * * *')"])
def test_a_table_s_condition_does_not_wait_for_the_source(instance: dg.DagsterInstance, condition: str) -> None:
    """Which nothing ever materializes: no run was ever asked for, and nothing said so."""
    now, video = datetime(2026, 11, 29, 6, 30, tzinfo=UTC), dg.AssetKey(["media", "video"])
    translation = {"automation_condition": f"{{{{ dg.AutomationCondition.{condition} }}}}"}
    with loaded({**SMALLEST, "translation": translation}) as defs:
        before = dg.evaluate_automation_conditions(defs, instance, evaluation_time=now)
        instance.add_dynamic_partitions("media_collections", ["news"])
        later = now + timedelta(hours=1)
        after = dg.evaluate_automation_conditions(defs, instance, evaluation_time=later, cursor=before.cursor)
    assert before.get_num_requested(video) == 0
    assert set(after.get_requested_partitions(video)) == {"news"}
