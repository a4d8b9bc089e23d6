"""How much there is to sync, and what each leg of the way takes for that: what `plan --at` asks settings for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from vectorferry.connector._model._records import Modality

LegKind: TypeAlias = Literal["read", "write", "index"]


@dataclass(frozen=True, slots=True)
class VectorLoad:
    """So many vectors of one name and dimension (None: sparse ones)."""

    modality: Modality
    name: str
    dimension: int | None
    rows: int

    @property
    def values(self) -> int:
        """Numbers in all of them; a sparse vector counts as one of a hundred."""
        return self.rows * (100 if self.dimension is None else self.dimension)


@dataclass(frozen=True, slots=True)
class Load:
    """Assets, their features, and the vectors of these. `feature_bytes` is what one takes without its vectors."""

    assets: int
    features: int
    vectors: Sequence[VectorLoad]
    feature_bytes: int = 500

    @property
    def values(self) -> int:
        """Numbers in all vectors."""
        return sum(each.values for each in self.vectors)

    def with_dimension(self, dimension: int) -> Load:
        """The same with dense vectors of this dimension."""
        dense = (replace(each, dimension=dimension) for each in self.vectors if each.dimension is not None)
        return replace(self, vectors=[*dense, *(each for each in self.vectors if each.dimension is None)])


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg of a sync of so much, and what it takes; None where that is not known.

    `seconds` are those of the bound that is reached first, which `bound` says in words. `bytes` go over the wire,
    `stored_bytes` stay, `memory_bytes` are wanted while it lasts. `misfits` are sentences about what will not fit.
    """

    name: str
    kind: LegKind
    seconds: float
    bound: str
    requests: int | None = None
    bytes: int | None = None
    stored_bytes: int | None = None
    memory_bytes: int | None = None
    dollars: float | None = None
    misfits: Sequence[str] = ()
