"""Which segments are nearest to a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from vectorferry.connector.sandbox._embedding import embed_in
from vectorferry.connector.sandbox._twelvelabs._errors import invalid
from vectorferry.connector.sandbox._twelvelabs._things import Index, IndexedAsset

__all__ = ["Hit", "ranked"]

_NEAR: Final = 0.15
"""What is further away than this is not found."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A segment that was found; the first has rank 1."""

    asset: IndexedAsset
    start: float
    end: float
    rank: int


def ranked(
    index: Index, text: str, options: Sequence[str], conditions: Mapping[str, Any], *, every_option: bool
) -> list[Hit]:
    """The segments that are near, the nearest first, each stretch of time once."""
    best: dict[tuple[str, float, float], tuple[float, IndexedAsset]] = {}
    for score, asset, span in _scored(index, text, options, conditions, every_option):
        key = (asset.indexed_asset_id, *span)
        if score > _NEAR and score > best.get(key, (0.0, asset))[0]:
            best[key] = score, asset
    ordered = sorted(best.items(), key=lambda one: (-one[1][0], one[0]))
    return [Hit(asset, key[1], key[2], rank) for rank, (key, (_, asset)) in enumerate(ordered, 1)]


def _scored(
    index: Index, text: str, options: Sequence[str], conditions: Mapping[str, Any], every_option: bool
) -> Iterator[tuple[float, IndexedAsset, tuple[float, float]]]:
    wanted = embed_in(text, index.model_name, index.dimension)
    for asset in index.assets.values():
        there = {segment.option for segment in asset.segments}
        if asset.status != "ready" or not _fits(asset, conditions) or (every_option and not there >= set(options)):
            continue
        for segment in asset.segments:
            vector = segment.vector.dense() if segment.option in options else None
            if vector is not None and vector.shape == wanted.shape:
                yield float(np.dot(vector, wanted)), asset, (segment.start, segment.end)


def _fits(asset: IndexedAsset, conditions: Mapping[str, Any]) -> bool:
    known = {**asset.user_metadata, **asset.system_metadata, "id": asset.indexed_asset_id}
    return all(_holds(known.get(name), wanted) for name, wanted in conditions.items())


def _holds(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        least, most = wanted.get("gte", -np.inf), wanted.get("lte", np.inf)
        if not isinstance(least, int | float) or not isinstance(most, int | float):
            raise invalid("filter", "gte and lte must be numbers.")
        return isinstance(value, int | float) and least <= value <= most
    return value in wanted if isinstance(wanted, list) else bool(value == wanted)
