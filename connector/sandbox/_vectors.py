"""Where a served vector comes from: a text, cheap noise, or bytes that somebody put there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import orjson

from vectorferry.connector._model._records import DenseVector, SparseVector
from vectorferry.connector.sandbox._embedding import MODELS, embed_sparse, embed_text

__all__ = [
    "NoiseVector",
    "PatchedVector",
    "RawVector",
    "TextVector",
    "VectorSource",
    "raw_json",
    "raw_value",
    "sparse_json",
]

_POOL = 65_536


class VectorSource(Protocol):
    """Something that gives a vector when it is asked for."""

    def json(self) -> Any:
        """What orjson prints for it."""

    def dense(self) -> DenseVector | None:
        """The dense vector that search compares, or None when there is none."""


@dataclass(frozen=True, slots=True)
class TextVector:
    """What `model` makes of `text`."""

    text: str
    model: str

    def json(self) -> Any:
        if MODELS[self.model] is None:
            return sparse_json(embed_sparse(self.text))
        return embed_text(self.text, self.model)

    def dense(self) -> DenseVector | None:
        return None if MODELS[self.model] is None else embed_text(self.text, self.model)


@dataclass(frozen=True, slots=True)
class PatchedVector:
    """A text's vector whose first numbers are given."""

    text: str
    model: str
    head: tuple[float, ...]

    def json(self) -> Any:
        return self.dense()

    def dense(self) -> DenseVector | None:
        vector = embed_text(self.text, self.model).copy()
        vector[: len(self.head)] = self.head
        return vector


@dataclass(frozen=True, slots=True)
class NoiseVector:
    """Two stretches of one shared pool of noise, added and normalised: far cheaper than a generator per vector."""

    seed: int
    dimension: int

    def json(self) -> Any:
        return self.dense()

    def dense(self) -> DenseVector | None:
        pool = _noise(self.dimension)
        first, second = self._offsets()
        total = pool[first : first + self.dimension] + pool[second : second + self.dimension]
        total /= np.sqrt(np.dot(total, total))
        return total

    def _offsets(self) -> tuple[int, int]:
        mixed = (self.seed + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        return mixed >> 48, mixed >> 20 & 0xFFFF


@dataclass(frozen=True, slots=True)
class RawVector:
    """Exactly these bytes of JSON, valid or not."""

    value: orjson.Fragment

    def json(self) -> Any:
        return self.value

    def dense(self) -> DenseVector | None:
        return None


def sparse_json(vector: SparseVector) -> dict[str, Any]:
    """A sparse vector as Mixpeek prints one: ``{"indices": [...], "values": [...]}``."""
    return {"indices": vector.indices, "values": vector.values}


def raw_json(value: Any) -> orjson.Fragment:
    """Bytes stay as they are; anything else becomes JSON, with NaN and Infinity written as such."""
    return orjson.Fragment(_written(value))


def raw_value(value: Any) -> Any:
    """As `raw_json`, but plain JSON comes back as Python values, so that filters and routes can read it."""
    written = _written(value)
    try:
        parsed = orjson.loads(written)
    except orjson.JSONDecodeError:
        return orjson.Fragment(written)
    return parsed if orjson.dumps(parsed) == written else orjson.Fragment(written)


def _written(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, np.ndarray) and np.isfinite(value).all():
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    plain = value.tolist() if isinstance(value, np.ndarray) else value
    return json.dumps(plain, separators=(",", ":")).encode()


@lru_cache(maxsize=8)
def _noise(dimension: int) -> DenseVector:
    return np.random.default_rng(20_241_107).standard_normal(_POOL + dimension, dtype=np.float32)
