"""What one source may make at most: its budgets, and what is beyond them. Pure but for what a budget has let in.

An answer is the source's to choose. Without these, five assets make hundreds of tables, and one of some kilobytes
hundreds of thousands of rows in quarantine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, TypeAlias

from pydantic import Field

from vectorferry.connector._model._errors import QuarantineError
from vectorferry.connector._model._records import MODALITIES, Asset, Modality, Reason, Rejected
from vectorferry.connector._model._settings_base import Settings

REMAINDER: Final = "(more)"
"""The feature id of the record that stands for those that quarantine has no room for."""

VectorKind: TypeAlias = tuple[Modality | None, str, int | None]
"""Modality (None: of all, in one place), name and dimension (None: sparse) of vectors that a store has a place for."""


class SourceLimits(Settings):
    """What a source may make at most. What is beyond it is set aside with a sentence that names the setting."""

    # Far more than a service's models make today. Each is a table, a view, a
    # function and an index, or an index that Pinecone bills.
    vectors_per_modality: int = Field(
        default=32, ge=1, le=1_000, description="named vectors of a modality, those that are stored already included"
    )
    dimensions_per_vector: int = Field(
        default=4, ge=1, le=100, description="dimensions of one named vector, those that are stored already included"
    )
    # A film of four hours, the longest that TwelveLabs takes, has segments and spoken words by the ten thousand.
    features_per_asset: int = Field(default=100_000, ge=1, le=10_000_000, description="features of one asset")
    rows_per_asset: int = Field(
        default=300_000, ge=1, le=30_000_000, description="features, vectors and rejected records of one asset together"
    )
    quarantine_per_asset: int = Field(
        default=1_000, ge=1, le=1_000_000, description="records of one asset in quarantine; one more tells of the rest"
    )

    def check_asset(self, asset: Asset) -> None:
        """Raise `QuarantineError` for an asset with more features, or with more rows, than one may have."""
        vectors = sum(len(feature.vectors) for feature in asset.features)
        AssetBudget(self).spend(len(asset.features), vectors + len(asset.rejected))


class AssetBudget:
    """What one asset may have, spent as its answers are read and before any record is built of them."""

    def __init__(self, limits: SourceLimits) -> None:
        self._limits = limits
        self._features = 0
        self._rows = 0

    def spend(self, features: int, others: int = 0) -> None:
        """So many features more, and so many vectors and rejected records. Raises `QuarantineError` for more than one
        asset may have."""
        self._features += features
        self._rows += features + others
        if self._features > self._limits.features_per_asset:
            raise _too_many(self._features, self._limits.features_per_asset, "features", "features_per_asset")
        if self._rows > self._limits.rows_per_asset:
            counted = "features, vectors and rejected records"
            raise _too_many(self._rows, self._limits.rows_per_asset, counted, "rows_per_asset")


class VectorBudget:
    """Which named vectors may be stored: those that are, those that the mapping names, and so many others."""

    def __init__(self, limits: SourceLimits, named: Iterable[tuple[Modality, str]] = ()) -> None:
        self._limits = limits
        self._named = frozenset(named)
        self._names: dict[Modality, set[str]] = defaultdict(set)
        self._dimensions: dict[tuple[Modality, str], set[int | None]] = defaultdict(set)

    def know(self, stored: Iterable[VectorKind]) -> None:
        """Let in what a store has already, and count it."""
        for of, name, dimension in stored:
            for modality in MODALITIES if of is None else (of,):
                self._names[modality].add(name)
                self._dimensions[modality, name].add(dimension)

    def exhausted(self) -> Iterator[str]:
        """A sentence for each part of it of which nothing is left."""
        most = self._limits.vectors_per_modality
        full = sorted(modality for modality, names in self._names.items() if len(names) >= most)
        if full:
            yield _exhausted(f"named vectors of {', '.join(full)}", "vectors_per_modality", most)
        most = self._limits.dimensions_per_vector
        if names := sorted({name for (_, name), dimensions in self._dimensions.items() if len(dimensions) >= most}):
            yield _exhausted(f"dimensions of {', '.join(names)}", "dimensions_per_vector", most)

    def admit(self, modality: Modality, name: str, dimension: int | None) -> None:
        """Let one more in. Raises `QuarantineError` when the source has used up what it may make."""
        dimensions = self._dimensions.get((modality, name))
        if dimensions is not None and dimension in dimensions:
            return
        names, most = self._names[modality], self._limits.vectors_per_modality
        if name not in names and (modality, name) not in self._named and len(names) >= most:
            raise _beyond(f"one more named vector of {modality} than {most:,}", "vectors_per_modality")
        most = self._limits.dimensions_per_vector
        if dimensions is not None and len(dimensions) >= most:
            raise _beyond(f"one more dimension ({dimension or 'sparse'}) of it than {most:,}", "dimensions_per_vector")
        names.add(name)
        self._dimensions[modality, name].add(dimension)


def bounded(asset_id: str, rejected: Sequence[Rejected], most: int) -> tuple[Rejected, ...]:
    """The first of these records, and for each modality one that tells how many there are beyond them.

    That one stands for any feature of its modality, so that what is stored of the features that it does not name stays.
    """
    if len(rejected) <= most:
        return tuple(rejected)
    beyond: dict[str, int] = defaultdict(int)
    for record in rejected[most:]:
        beyond[record.modality if record.modality in MODALITIES else ""] += 1
    return tuple(
        chain(
            rejected[:most],
            (
                Rejected(
                    asset_id,
                    Reason.OVER_LIMIT,
                    f"and {count:,} more records of this asset; limits.quarantine_per_asset is {most:,}",
                    REMAINDER,
                    modality,
                )
                for modality, count in sorted(beyond.items())
            ),
        )
    )


def _exhausted(counted: str, setting: str, most: int) -> str:
    return f"limits.{setting} is {most:,}, and as many {counted} are stored: any further is set aside as over_limit"


def _too_many(count: int, most: int, counted: str, setting: str) -> QuarantineError:
    return _beyond(f"{count:,} {counted}, and one asset may have {most:,}", setting)


def _beyond(problem: str, setting: str) -> QuarantineError:
    return QuarantineError(Reason.OVER_LIMIT, f"{problem}; raise limits.{setting} if that is genuine")
