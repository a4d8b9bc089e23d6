"""How a sync's tables and indexes look as Dagster assets, and the one streaming step that fills them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import dagster as dg
from dagster._core.definitions.metadata.metadata_value import ObjectMetadataValue

from vectorferry import SyncSettings
from vectorferry.connector.plugin import ConfigurationError, DestinationSettings
from vectorferry.dagster._metadata import column_lineage, mapped_columns
from vectorferry.dagster._partitions import CollectionPartitions
from vectorferry.dagster._targets import ModalityTable, Target, VectorIndex, destination_name, targets_of

KINDS: Final[Mapping[str, str]] = {"pgvector": "postgres"}
"""Kinds that the UI has an icon for, by plug-in; others are shown under their own name."""


class VectorferryTranslator:
    """How the tables and indexes of a sync look as assets. Subclass it for other keys, groups, owners or metadata."""

    sample_rows: int = 3
    """So many rows of a table stand in the metadata of a partition in which something was written; 0: none."""

    embedding_map: bool = False
    """Whether a run that has written something draws a map of each table's vectors. Needs scikit-learn, and seconds."""

    def get_asset_spec(self, target: Target) -> dg.AssetSpec:
        """The asset of one table or index, below the source's: ``[sync, table]``, ``[sync, destination, vector]``."""
        source = self.get_source_spec(target.settings).key
        spec = _index_spec(target) if isinstance(target, VectorIndex) else _table_spec(target, source)
        return spec.replace_attributes(deps=[source])

    def get_source_spec(self, settings: SyncSettings) -> dg.AssetSpec:
        """The source's collections as an asset that Dagster knows of and never makes; every run observes it.

        Its key has three parts, ``[sync, "source", type]``, so that no table can have it.
        """
        return dg.AssetSpec(
            key=[settings.name, "source", settings.source.type],
            description=f"The collections of the {settings.source.type} source, as its API serves them.",
            group_name=settings.name,
            kinds={settings.source.type},
            partitions_def=CollectionPartitions.of(settings),
        )


def _table_spec(table: ModalityTable, source: dg.AssetKey) -> dg.AssetSpec:
    return _spec(
        table,
        key=[table.settings.name, table.name],
        description=f"Every {table.modality} feature of the collection, one row each, with its named vectors.",
        kinds={_kind(destination) for destination in _destinations(table)},
        tags={"vectorferry/modality": table.modality.value},
        metadata={
            **_place(table),
            "dagster/column_schema": mapped_columns(table.settings.modalities, table.modality),
            "dagster/column_lineage": column_lineage(table.settings.modalities, table.modality, source),
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

TARGET: Final = "vectorferry/target"
TRANSLATOR: Final = "vectorferry/translator"
Body: TypeAlias = Callable[..., Iterable[Any]]


def build_vectorferry_specs(
    settings: SyncSettings, translator: VectorferryTranslator | None = None
) -> list[dg.AssetSpec]:
    """The assets of a sync: its modality tables, then the indexes that are known beforehand.

    Raises `ConfigurationError` when two destinations with indexes have one name.
    """
    translator = translator or VectorferryTranslator()
    source = translator.get_source_spec(settings).key
    return [
        _by_itself(translator.get_asset_spec(target), source).merge_attributes(
            # the UI is told the names of their classes, and steps get the objects
            metadata={TARGET: ObjectMetadataValue(target), TRANSLATOR: ObjectMetadataValue(translator)}
        )
        for target in targets_of(settings)
    ]


def _by_itself(spec: dg.AssetSpec, source: dg.AssetKey) -> dg.AssetSpec:
    """Its automation condition without the source: only runs of this asset observe that, and none materializes it, so
    that whoever waited for it (`on_cron`, `eager`) would wait for ever."""
    condition: Any = spec.automation_condition
    if not hasattr(condition, "ignore"):
        return spec
    return spec.replace_attributes(automation_condition=condition.ignore(dg.AssetSelection.assets(source)))


def vectorferry_assets(
    settings: SyncSettings,
    *,
    translator: VectorferryTranslator | None = None,
    name: str | None = None,
    op_tags: Mapping[str, Any] | None = None,
    pool: str | None = None,
    backfill_policy: dg.BackfillPolicy | None = None,
    description: str | None = None,
    required_resource_keys: Iterable[str] = (),
    workers: int | None = None,
) -> Callable[[Body], dg.AssetsDefinition]:
    """One step that makes the assets of a sync, or those that are selected, for any number of partitions at once.

    The body says what happens around ``yield from vectorferry.run(context)``, where `vectorferry` is a
    `VectorferryResource`::

        @vectorferry_assets(settings)
        def media(context: dg.AssetExecutionContext, vectorferry: VectorferryResource):
            yield from vectorferry.run(context)

    Args:
        settings: the sync, as `load_settings` reads it.
        translator: how its tables and indexes look as assets.
        name: of the step; the sync's where nothing is said.
        op_tags: of the step. ``vectorferry/retries`` says how often it may be tried again; three times otherwise.
        pool: whose limit holds; the source's type where nothing is said, so that one limit holds for a service.
        backfill_policy: how many partitions go into a run; all of them where nothing is said.
        description: of the step.
        required_resource_keys: resources that the body takes from ``context.resources``.
        workers: how many steps share the work. With more than one, the assets are made by a graph: a step that lists,
            the workers, each wherever the executor puts it, and the body, which closes.

    Raises `ConfigurationError` when two destinations with indexes have one name.
    """
    step = dg.multi_asset(
        name=name or settings.name,
        description=description,
        specs=build_vectorferry_specs(settings, translator),
        can_subset=True,
        op_tags=op_tags,
        backfill_policy=backfill_policy or dg.BackfillPolicy.single_run(),
        pool=pool or settings.source.type,
        config_schema=dict(RUN_CONFIG),
        required_resource_keys=set(required_resource_keys),
    )
    if workers is None or workers < 2:
        return step
    from vectorferry.dagster._workers import shared_assets  # which needs the resource, which needs this

    return lambda body: shared_assets(step(body), workers, RUN_CONFIG)


def targets_in(context: dg.AssetExecutionContext) -> dict[dg.AssetKey, Target]:
    """The tables and indexes behind the selected assets of a step."""
    specs = (spec for spec in _specs(context) if spec.key in context.selected_asset_keys)
    return {spec.key: spec.metadata[TARGET].instance for spec in specs}


def translator_in(context: dg.AssetExecutionContext) -> VectorferryTranslator:
    """What made the assets of a step from tables and indexes."""
    translator: VectorferryTranslator = _specs(context)[0].metadata[TRANSLATOR].instance
    return translator


def _specs(context: dg.AssetExecutionContext) -> list[dg.AssetSpec]:
    specs = [spec for spec in context.assets_def.specs if TARGET in spec.metadata]
    if not specs:
        raise ConfigurationError("this step makes no assets of a sync: decorate its body with @vectorferry_assets")
    return specs
