"""What a Marengo model makes of a text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from vectorferry.connector._records import DenseVector
from vectorferry.connector.sandbox._embedding import embed_in
from vectorferry.connector.sandbox._vectors import NoiseVector, VectorSource

__all__ = ["MarengoVector", "made_again"]


@dataclass(frozen=True, slots=True)
class MarengoVector:
    """`take` is 0 for what the model first made of the text; another one is as if it had been trained anew."""

    text: str
    model: str
    dimension: int
    take: int = 0

    def json(self) -> Any:
        return self.dense()

    def dense(self) -> DenseVector | None:
        return embed_in(self.text, f"{self.model}/{self.take}" if self.take else self.model, self.dimension)


def made_again(vector: VectorSource, dimension: int) -> VectorSource:
    """Another vector of the same thing, in this dimension; one that somebody put there stays."""
    match vector:
        case MarengoVector():
            return replace(vector, dimension=dimension, take=vector.take + 1)
        case NoiseVector():
            return NoiseVector(vector.seed + 1_000_003, dimension)
        case _:
            return vector
