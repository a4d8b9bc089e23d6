"""Vectors that have another dimension than the others of their name: a model that has changed, or a few that are wrong.

Nobody but the user can tell which, so it is said, with numbers, and nothing is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import TypeAlias

from vectorferry.connector._model._batch import Batch
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._model._records import MODALITIES, Modality
from vectorferry.connector._model._vectors import dense_dimension
from vectorferry.connector._protocols._destination import VectorCount

WrittenDimension: TypeAlias = tuple[Modality, str, int | None]
"""Modality, vector name and dimension of a vector that was written; None: a sparse one."""


def dimensions_in(batch: Batch) -> set[WrittenDimension]:
    """Which dimensions there are in a batch."""
    return {
        (feature.modality, name, dense_dimension(vector))
        for asset in batch.assets
        for feature in asset.features
        for name, vector in feature.vectors.items()
    }


def dimension_notes(
    counts: Iterable[VectorCount], mapping: SchemaMapping, written: Collection[WrittenDimension] | None = None
) -> Iterator[str]:
    """A sentence for each dimension that fewer vectors of a name have than another one; with `written`, only where some
    of these were written just now, and not with every run as long as they are there."""
    by_name: dict[tuple[Modality | None, str], list[VectorCount]] = defaultdict(list)
    for count in counts:
        if count.rows:
            by_name[count.modality, count.vector_name].append(count)
    for each in by_name.values():
        most = max(each, key=lambda count: count.rows)
        for few in each:
            if few is not most and (written is None or _is_written(few, written)):
                yield _note(few, most, sum(count.rows for count in each), mapping)


def _is_written(count: VectorCount, written: Collection[WrittenDimension]) -> bool:
    return any(
        (name, dimension) == (count.vector_name, count.dimension) and count.modality in {None, modality}
        for modality, name, dimension in written
    )


def _note(few: VectorCount, most: VectorCount, total: int, mapping: SchemaMapping) -> str:
    kind = f"{few.modality} vectors" if few.modality else "vectors"
    sentence = (
        f"{few.rows:,} of {total:,} {kind} of {few.vector_name} {_what(few.dimension)}, "
        f"not {most.dimension or 'sparse'}: stored in {few.place}"
    )
    setting = f"modalities.{few.modality or '<modality>'}.vectors.{few.vector_name}.dimension"
    modalities = [few.modality] if few.modality else MODALITIES
    if most.dimension is None:
        return sentence
    if any(mapping.vector(each, few.vector_name).dimension == most.dimension for each in modalities):
        return f"{sentence}. {setting} is {most.dimension}: they are set aside when they are read again"
    return f"{sentence}. Unless the model is changing, set {setting} to {most.dimension}, which sets them aside"


def _what(dimension: int | None) -> str:
    return "are sparse" if dimension is None else f"have {dimension} dimensions"
