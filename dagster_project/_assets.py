"""The step that fills a sync's tables: pages go from the source to the destination, and nothing big in between.

Dagster reads the step's annotations as they stand, so this file does not postpone their evaluation.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import dagster as dg

from connector import Modality, SyncSettings
from dagster_project._failures import RETRIES
from dagster_project._resources import resource_keys

__all__ = ["Execute", "sync_assets"]

Execute: TypeAlias = Callable[
    [dg.AssetExecutionContext, Mapping[dg.AssetKey, Modality]], Iterable[dg.MaterializeResult[Any]]
]


def sync_assets(
    settings: SyncSettings, specs: Sequence[dg.AssetSpec], tables: Mapping[dg.AssetKey, Modality], execute: Execute
) -> dg.AssetsDefinition:
    """One step that makes these assets, or those of them that are selected, for any number of partitions at once."""

    @dg.multi_asset(
        name=settings.name,
        specs=specs,
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=RETRIES,
        pool=settings.source.type,
        required_resource_keys=set(resource_keys(settings)),
    )
    def sync(context: dg.AssetExecutionContext) -> Iterable[dg.MaterializeResult[Any]]:
        yield from execute(context, {key: tables[key] for key in tables if key in context.selected_asset_keys})

    return sync
