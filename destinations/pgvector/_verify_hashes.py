"""Whether a vector that was read back is the one that was stored, also where the column is less exact than the source.

Beside a vector stands the hash of what the source had. A ``halfvec`` has lost digits by then, and a ``sparsevec`` the
zeros, so there the hash of what the column holds stands behind it, in another 16 bytes.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from vectorferry.connector import SparseVector, Storage, Vector, vector_hash

__all__ = ["is_vector_of", "recorded_hash", "source_hash"]

_HASH: Final = 16


def recorded_hash(vector: Vector, digest: bytes, storage: Storage) -> bytes:
    """What stands beside a vector whose own hash is `digest`."""
    return digest if storage == "vector" else digest + vector_hash(_as_stored(vector))


def source_hash(recorded: bytes) -> bytes:
    """The hash of the vector as the source had it."""
    return recorded[:_HASH]


def is_vector_of(recorded: bytes, stored: Vector, storage: Storage) -> bool:
    """Whether this is what the recorded hash was taken of; True where nothing was recorded of the column's own form."""
    known = recorded if storage == "vector" else recorded[_HASH:]
    return vector_hash(stored) == known or (storage != "vector" and len(recorded) == _HASH)


def _as_stored(vector: Vector) -> Vector:
    if isinstance(vector, SparseVector):
        kept = vector.values != 0
        return SparseVector(vector.indices[kept], vector.values[kept])
    return vector.astype(np.float16).astype(np.float32)
