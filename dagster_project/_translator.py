"""How a sync's tables look as Dagster assets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import dagster as dg

from connector import MODALITIES, Modality, SyncSettings
from dagster_project._metadata import mapped_columns
from dagster_project._partitions import CollectionPartitions

__all__ = ["ModalityTable", "asset_spec", "modality_tables", "source_key", "source_spec"]

KINDS: Final[Mapping[str, str]] = {"pgvector": "postgres"}
"""Kinds that the UI has an icon for, by plug-in; others are shown under their own name."""


@dataclass(frozen=True, slots=True)
class ModalityTable:
    """One table of a sync's destination: what a spec is made from."""

    settings: SyncSettings
    modality: Modality

    @property
    def name(self) -> str:
        """The table's name in the destination."""
        return self.settings.modalities.table(self.modality)


def modality_tables(settings: SyncSettings) -> list[ModalityTable]:
    """The tables of a sync, one per modality."""
    return [ModalityTable(settings, modality) for modality in MODALITIES]


def asset_spec(table: ModalityTable) -> dg.AssetSpec:
    """The asset of one table: key ``[sync, table]``, below the sync's source."""
    sync = table.settings
    return dg.AssetSpec(
        key=[sync.name, table.name],
        deps=[source_key(sync)],
        description=f"Every {table.modality} feature of the collection, one row each, with its named vectors.",
        group_name=sync.name,
        kinds={"python", *(KINDS.get(destination.type, destination.type) for destination in sync.destinations)},
        tags={"vectorferry/modality": table.modality.value},
        metadata={**_place(table), "dagster/column_schema": mapped_columns(sync.modalities, table.modality)},
        partitions_def=CollectionPartitions.of(sync),
    )


def _place(table: ModalityTable) -> dict[str, str]:
    """Where the table is, if the first destination is a database with schemas."""
    first = table.settings.destinations[0]
    if not hasattr(first, "schema_name"):
        return {}
    schema = first.schema_name or table.settings.name
    return {"dagster/table_name": f"{schema}.{table.name}", "dagster/storage_kind": KINDS.get(first.type, first.type)}


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
