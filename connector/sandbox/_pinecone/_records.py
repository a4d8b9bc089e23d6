"""One stored record, compact: float32 values, metadata as the bytes that answers show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

__all__ = ["Record", "Sparse"]

_NONE: NDArray[np.float32] = np.empty(0, dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Sparse:
    """Indices (uint32, unique) and values (float32) of the same length, in the order in which they came."""

    indices: NDArray[np.uint32]
    values: NDArray[np.float32]

    def shown(self) -> Mapping[str, Any]:
        """As answers show it."""
        return {"indices": self.indices, "values": self.values}


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """`values` has shape (dimension,), float32, and is None in a sparse index; `metadata` is JSON, empty for none."""

    record_id: str
    values: NDArray[np.float32] | None
    sparse: Sparse | None
    metadata: bytes

    def fields(self) -> dict[str, Any]:
        """The metadata as values."""
        return orjson.loads(self.metadata) if self.metadata else {}

    def shown(self, *, values: bool = True, metadata: bool = True) -> dict[str, Any]:
        """As answers show it: without values, an empty list stands in their place."""
        dense = _NONE if self.values is None else self.values
        shown: dict[str, Any] = {"id": self.record_id, "values": dense if values else _NONE}
        if values and self.sparse is not None:
            shown["sparseValues"] = self.sparse.shown()
        if metadata and self.metadata:
            shown["metadata"] = orjson.Fragment(self.metadata)
        return shown
