"""What a run was asked for: the selected assets, and what follows from them for the sync."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg

from vectorferry.connector import MODALITIES, Modality, SyncSettings
from vectorferry.dagster._targets import ModalityTable, Target

__all__ = ["Selection"]


@dataclass(frozen=True)
class Selection:
    """The selected assets, and the settings as the run's resources say them, ``${NAME}`` unresolved."""

    settings: SyncSettings
    targets: Mapping[dg.AssetKey, Target]

    @property
    def places(self) -> list[int]:
        """The destinations that are synced, by their position in the file."""
        return sorted(frozenset[int]().union(*(target.places for target in self.targets.values())))

    @property
    def modalities(self) -> frozenset[Modality]:
        """Those of the selected tables; all, where only indexes are selected: an index is of all of them."""
        tables = [target.modality for target in self.targets.values() if isinstance(target, ModalityTable)]
        return frozenset(tables or MODALITIES)

    @property
    def narrowed(self) -> SyncSettings:
        """The settings with only the destinations that are synced."""
        return self.settings.model_copy(
            update={"destinations": tuple(self.settings.destinations[place] for place in self.places)}
        )
