"""The step that fills a sync's tables and indexes: pages go from source to destination, nothing big in between.

Dagster reads the step's annotations as they stand, so this file does not postpone their evaluation.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import dagster as dg

from vectorferry.connector import SyncSettings
from vectorferry.dagster._resources import resource_keys
from vectorferry.dagster._targets import Target

__all__ = ["RUN_CONFIG", "Execute", "sync_assets"]

RUN_CONFIG: Mapping[str, dg.Field] = {
    "full": dg.Field(
        bool,
        default_value=False,
        description="List everything, even if the source could list just the changes: finds what was deleted there.",
    ),
    "reread": dg.Field(
        bool,
        default_value=False,
        description="Read all assets of these partitions again, also those that seem unchanged.",
    ),
}
"""What can be said of a single run."""

Execute: TypeAlias = Callable[
    [dg.AssetExecutionContext, Mapping[dg.AssetKey, Target]], Iterable[dg.MaterializeResult[Any]]
]


def sync_assets(
    settings: SyncSettings, specs: Sequence[dg.AssetSpec], targets: Mapping[dg.AssetKey, Target], execute: Execute
) -> dg.AssetsDefinition:
    """One step that makes these assets, or those of them that are selected, for any number of partitions at once."""

    @dg.multi_asset(
        name=settings.name,
        specs=specs,
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=settings.source.type,
        config_schema=dict(RUN_CONFIG),
        required_resource_keys=set(resource_keys(settings)),
    )
    def sync(context: dg.AssetExecutionContext) -> Iterable[dg.MaterializeResult[Any]]:
        yield from execute(context, {key: targets[key] for key in targets if key in context.selected_asset_keys})

    return sync
