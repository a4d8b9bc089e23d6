from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pytest
from dagster.components.testing import create_defs_folder_sandbox
from pydantic import TypeAdapter

from tests.dagster_project.conftest import Load
from tests.dagster_project.running import materialize, recorded
from vectorferry import SyncSettings
from vectorferry.dagster import Target, VectorferrySync

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")  # of its own classes

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
    assert schema["properties"].keys() == SyncSettings.model_fields.keys()
    assert schema["additionalProperties"] is False
    assert all("description" in each for each in schema["properties"].values())


def test_templates_of_dagster_are_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_NAME", "from_env")
    with loaded({**SMALLEST, "name": "{{ env.SYNC_NAME }}"}) as defs:
        assert defs.resolve_job_def("from_env_sync")


class Owned(VectorferrySync):
    """A sync with an owner."""

    owner: str

    def get_asset_spec(self, target: Target) -> dg.AssetSpec:
        return super().get_asset_spec(target).replace_attributes(owners=[self.owner], group_name="shared")

    def execute(
        self, context: dg.AssetExecutionContext, settings: SyncSettings, targets: Mapping[dg.AssetKey, Target]
    ) -> Any:
        context.log.info(f"for {self.owner}")
        yield from super().execute(context, settings, targets)


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
    assert sorted(both.resources or {}) == ["media_box", "media_source", "other_box", "other_source"]
