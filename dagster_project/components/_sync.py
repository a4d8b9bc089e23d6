"""A whole sync as one YAML component."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import environ
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import ConfigDict, Field

from connector import MODALITIES, Modality, SyncSettings, VectorferryError, parse_settings, resolve
from dagster_project._assets import sync_assets
from dagster_project._failures import failure
from dagster_project._resources import resources_of, settings_from
from dagster_project._run import sync_partitions
from dagster_project._schedules import sync_job, sync_schedule
from dagster_project._sensors import discovery_sensor
from dagster_project._translator import ModalityTable, asset_spec, modality_tables, source_spec

__all__ = ["VectorferrySync"]


class VectorferrySync(dg.Component, dg.Model, dg.Resolvable):
    """Syncs media assets and their named vectors from an API into Postgres and other stores.

    The attributes are those of a ``vectorferry.yaml``. ``${NAME}`` is looked up when a run starts, so that this loads
    with its secrets unset.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", hide_input_in_errors=True)

    name: str = Field(description="The sync's name: the first part of asset keys, and the schema in Postgres.")
    source: dict[str, Any] = Field(description="`type` names the plug-in; the other keys are its settings.")
    destinations: list[dict[str, Any]] = Field(description="One or more, each with its `type`.")
    modalities: dict[str, Any] = Field(default_factory=dict, description="What differs from the default mapping.")
    batch: dict[str, Any] = Field(default_factory=dict, description="When a batch is full: `rows`, `bytes`.")
    deletes: dict[str, Any] = Field(default_factory=dict, description="The guard on deletes: `max_share`.")
    schedule: str | None = Field(default=None, description="A cron expression: every collection is synced then.")

    def settings(self, where: str = "defs.yaml") -> SyncSettings:
        """The attributes as settings, ``${NAME}`` unresolved. Raises `ConfigurationError`; `where` begins its lines."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}
        return parse_settings(given, where)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Assets, job, schedule, discovery sensor and resources of the sync. Raises `ConfigurationError`."""
        settings = self.settings(_where(context))
        specs = [self.get_asset_spec(table) for table in modality_tables(settings)]
        tables = dict(zip((spec.key for spec in specs), MODALITIES, strict=True))
        job = sync_job(settings, list(tables))

        def execute(
            context: dg.AssetExecutionContext, selected: Mapping[dg.AssetKey, Modality]
        ) -> Iterable[dg.MaterializeResult[Any]]:
            return self.execute(context, settings, selected)

        return dg.Definitions(
            assets=[source_spec(settings), sync_assets(settings, specs, tables, execute)],
            jobs=[job],
            schedules=[sync_schedule(settings, job)],
            sensors=[discovery_sensor(settings, job)],
            resources=resources_of(settings),
        )

    def get_asset_spec(self, table: ModalityTable) -> dg.AssetSpec:
        """How one table looks as an asset. Override it for other keys, groups, owners or metadata."""
        return asset_spec(table)

    def execute(
        self, context: dg.AssetExecutionContext, settings: SyncSettings, tables: Mapping[dg.AssetKey, Modality]
    ) -> Iterable[dg.MaterializeResult[Any]]:
        """Sync the partitions of the step into the selected tables. Override it to do something before or after."""
        try:
            current = settings_from(context.resources, settings)
            resolve(current, environ)  # every variable is missed at once, and before anything is done
        except VectorferryError as error:
            raise failure({settings.name: error}, asked=1) from None
        yield from sync_partitions(context, current, tables)


def _where(context: dg.ComponentLoadContext) -> str:
    path = context.path if context.path.suffix else context.path / "defs.yaml"
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
