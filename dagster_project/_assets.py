"""How a sync's tables and indexes look as Dagster assets, and the one streaming step that fills them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import dagster as dg

from vectorferry import SyncSettings
from vectorferry.connector.plugin import DestinationSettings
from vectorferry.dagster._metadata import mapped_columns
from vectorferry.dagster._partitions import CollectionPartitions
from vectorferry.dagster._resources import resource_keys
from vectorferry.dagster._targets import ModalityTable, Target, VectorIndex, destination_name

KINDS: Final[Mapping[str, str]] = {"pgvector": "postgres"}
"""Kinds that the UI has an icon for, by plug-in; others are shown under their own name."""


def asset_spec(target: Target) -> dg.AssetSpec:
    """The asset of one table or index, below the sync's source: ``[sync, table]``, ``[sync, destination, vector]``."""
    return _index_spec(target) if isinstance(target, VectorIndex) else _table_spec(target)


def _table_spec(table: ModalityTable) -> dg.AssetSpec:
    return _spec(
        table,
        key=[table.settings.name, table.name],
        description=f"Every {table.modality} feature of the collection, one row each, with its named vectors.",
        kinds={_kind(destination) for destination in _destinations(table)},
        tags={"vectorferry/modality": table.modality.value},
        metadata={
            **_place(table),
            "dagster/column_schema": mapped_columns(table.settings.modalities, table.modality),
        },
    )


def _index_spec(index: VectorIndex) -> dg.AssetSpec:
    return _spec(
        index,
        key=[index.settings.name, destination_name(index.destination), index.name],
        description=f"The named vector {index.vector_name} of every feature of the collection, of all modalities.",
        kinds={_kind(index.destination)},
        metadata={"named_vector": index.vector_name, "dagster/storage_kind": _kind(index.destination)},
    )


def _spec(target: Target, *, kinds: set[str], **own: Any) -> dg.AssetSpec:
    sync = target.settings
    return dg.AssetSpec(
        deps=[source_key(sync)],
        group_name=sync.name,
        kinds={"python", *kinds},
        partitions_def=CollectionPartitions.of(sync),
        **own,
    )


def _place(table: ModalityTable) -> dict[str, str]:
    """Where the table is, if the first destination with tables is a database with schemas."""
    first = _destinations(table)[0]
    if not hasattr(first, "schema_name"):
        return {}
    schema = first.schema_name or table.settings.name
    return {"dagster/table_name": f"{schema}.{table.name}", "dagster/storage_kind": _kind(first)}


def _destinations(target: Target) -> list[DestinationSettings]:
    return [target.settings.destinations[place] for place in sorted(target.places)]


def _kind(destination: DestinationSettings) -> str:
    return KINDS.get(destination.type, destination.type)


def source_key(sync: SyncSettings) -> dg.AssetKey:
    """``[sync, "source", type]``: three parts, so that no table can have it."""
    return dg.AssetKey([sync.name, "source", sync.source.type])


def source_spec(sync: SyncSettings) -> dg.AssetSpec:
    """The source's collections as an asset that Dagster knows of and never makes; every run observes it."""
    return dg.AssetSpec(
        key=source_key(sync),
        description=f"The collections of the {sync.source.type} source, as its API serves them.",
        group_name=sync.name,
        kinds={sync.source.type},
    )


# The step that fills a sync's tables and indexes: pages go from source to destination, nothing big in between.
#
# Dagster reads the step's annotations as they stand, so this file does not postpone their evaluation.


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
