"""Whether a mapping fits what is loaded under it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from vectorferry.connector._destination import LoadedAsset
from vectorferry.connector._mapping import SchemaMapping
from vectorferry.connector._records import MODALITIES, Modality
from vectorferry.connector._registry import closest

__all__ = ["MappingUse"]

_PATHS_KNOWN: Final = 1_000
"""Of one modality; metadata may have a key per asset."""


class MappingUse:
    """Which columns and named vectors of a mapping have met something in what was loaded."""

    def __init__(self, mapping: SchemaMapping) -> None:
        self._mapped = {modality: mapping.columns(modality) for modality in MODALITIES}
        self._columns = {modality: dict(mapping.modality(modality).columns) for modality in MODALITIES}
        self._vectors = {modality: set(mapping.modality(modality).vectors) for modality in MODALITIES}
        self._features: Counter[Modality] = Counter()
        self._paths: dict[Modality, dict[str, None]] = {modality: {} for modality in MODALITIES}
        self._names: dict[Modality, dict[str, None]] = {modality: {} for modality in MODALITIES}

    def note(self, asset: LoadedAsset) -> None:
        """Look at the features of one asset. Costs nothing once everything has met something."""
        for feature in asset.features:
            columns, vectors = self._columns[feature.modality], self._vectors[feature.modality]
            if not columns and not vectors:
                continue
            self._features[feature.modality] += 1
            for name in [name for name in columns if feature.columns.get(name) is not None]:
                del columns[name]
            vectors.difference_update(feature.vectors)
            self._names[feature.modality] |= dict.fromkeys(feature.vectors)
            if columns and len(paths := self._paths[feature.modality]) < _PATHS_KNOWN:
                paths |= dict.fromkeys([*feature.extra, *(f"metadata.{key}" for key in feature.metadata)])
                filled = (name for name, value in feature.columns.items() if value is not None)
                paths |= dict.fromkeys(self._mapped[feature.modality][name].path for name in filled)

    def unmatched(self) -> Iterator[str]:
        """A sentence for each that has met nothing, of modalities that there are features of."""
        for modality, count in sorted(self._features.items()):
            features = f"{count:,} {modality} feature{'' if count == 1 else 's'}"
            for name, column in self._columns[modality].items():
                near = closest(column.path, list(self._paths[modality]))
                yield f"modalities.{modality}.columns.{name}: {column.path} is in none of {features}{near}"
            for name in sorted(self._vectors[modality]):
                near = closest(name, list(self._names[modality]))
                yield f"modalities.{modality}.vectors.{name}: none of {features} has a vector of this name{near}"
