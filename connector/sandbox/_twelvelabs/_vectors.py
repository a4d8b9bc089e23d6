"""What a Marengo model makes of a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from connector._records import DenseVector
from connector.sandbox._embedding import embed_in

__all__ = ["MarengoVector"]


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
