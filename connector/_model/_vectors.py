"""Vectors: read from JSON values, checked, measured and hashed. Pure; all sources and destinations share it."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vectorferry.connector._model._errors import QuarantineError
from vectorferry.connector._model._records import DenseVector, Reason, SparseVector, Vector

NUMBERS: Final = frozenset({float, int})
SPARSE_DIMENSION: Final = 1_000_000_000
"""pgvector's largest sparsevec, in which sparse vectors are stored."""
HIGHEST_INDEX: Final = int(np.iinfo(np.int32).max)

HASHED_AT_ONCE: Final = 2_044
"""Bytes. From 2,048 on, hashlib lets other threads run meanwhile: for one vector, getting back from a busy one takes
longer than hashing does (measured: 33 µs rather than 13 for 1,024 numbers beside a thread that computes)."""


def decode_vector(raw: Any) -> Vector:
    """A vector from its JSON value.

    A list of numbers becomes a dense vector, shape ``(dimension,)``, float32, C-contiguous;
    ``{"indices": [...], "values": [...]}`` a sparse one, sorted by index. Raises `QuarantineError` with
    `Reason.NOT_FINITE` for NaN, infinity or a number beyond float32, else with `Reason.MALFORMED`.
    """
    if isinstance(raw, list):
        return _floats(raw)
    if isinstance(raw, dict) and raw.keys() >= {"indices", "values"}:
        return _sparse(raw["indices"], raw["values"])
    raise _malformed(f"neither a list of numbers nor indices and values, but {_kind(raw)}")


def check_vector(name: str, vector: Vector) -> Vector:
    """The vector, contiguous. Raises `QuarantineError`: `Reason.MALFORMED` or `Reason.NOT_FINITE`."""
    if isinstance(vector, SparseVector):
        _check_sparse(name, vector)
        values = vector.values
    else:
        if not _is_array(vector, np.float32) or not vector.size:
            raise _unfit(name, "is not a one-dimensional float32 array with at least one number")
        values = vector = np.ascontiguousarray(vector)
    # Looked through as bytes: numpy's `all` lets other threads run, see HASHED_AT_ONCE.
    if 0 in np.isfinite(values).tobytes():
        raise QuarantineError(Reason.NOT_FINITE, f"vector {name!r} holds NaN or infinity")
    return vector


def dense_dimension(vector: Vector) -> int | None:
    """How many numbers a dense vector has; None of a sparse one."""
    return None if isinstance(vector, SparseVector) else len(vector)


def vector_hash(vector: Vector) -> bytes:
    """16 bytes that change with the kind, the dimension or any number of a vector; the same on every machine."""
    if isinstance(vector, SparseVector):
        digest = blake2b(b"sparse" + len(vector.indices).to_bytes(8, "little"), digest_size=16)
        _hash(digest, vector.indices, "<i4")
        _hash(digest, vector.values, "<f4")
        return digest.digest()
    digest = blake2b(b"dense" + len(vector).to_bytes(8, "little"), digest_size=16)
    _hash(digest, vector, "<f4")
    return digest.digest()


def vector_literal(vector: Vector, sparse_dimension: int = SPARSE_DIMENSION) -> str:
    """As pgvector reads it: ``[0.5,…]``, and of a sparse one ``{1:0.5,…}/1000000000``, with indices from 1."""
    if isinstance(vector, SparseVector):
        pairs = zip(vector.indices.tolist(), vector.values.tolist(), strict=True)
        return "{" + ",".join(f"{index + 1}:{value!r}" for index, value in pairs) + f"}}/{sparse_dimension}"
    return "[" + ",".join(str(value) for value in vector) + "]"


def vector_bytes(vector: Vector) -> int:
    """How many bytes the numbers of a vector take in memory."""
    if isinstance(vector, SparseVector):
        return vector.indices.nbytes + vector.values.nbytes
    return vector.nbytes


def dense_vector(numbers: list[float]) -> DenseVector:
    """A vector of what is known to be numbers. Raises `QuarantineError` like `decode_vector`."""
    if not numbers:
        raise _malformed("an empty list")
    with np.errstate(over="ignore"):
        vector = _as_float64(numbers).astype(np.float32)
    if not np.isfinite(vector).all():
        raise _not_finite(numbers, vector)
    return vector


def _floats(raw: list[Any]) -> DenseVector:
    if not NUMBERS.issuperset(map(type, raw)):
        raise _malformed(_first_stranger(raw))
    return dense_vector(raw)


def _as_float64(raw: list[Any]) -> NDArray[np.float64]:
    try:
        return np.array(raw, dtype=np.float64)
    except OverflowError:
        raise QuarantineError(Reason.NOT_FINITE, "a number is beyond the range of float32") from None


def _sparse(indices: Any, values: Any) -> SparseVector:
    if not isinstance(indices, list) or not isinstance(values, list):
        raise _malformed(f"indices are {_kind(indices)}, values {_kind(values)}; both should be lists")
    if len(indices) != len(values):
        raise _malformed(f"{len(indices)} indices but {len(values)} values")
    if not all(type(index) is int and 0 <= index <= HIGHEST_INDEX for index in indices):
        raise _malformed(f"an index is not a whole number of 0 to {HIGHEST_INDEX}")
    numbers = _floats(values)
    positions, order = np.unique(np.array(indices, dtype=np.int32), return_index=True)
    if len(positions) != len(indices):
        raise _malformed("the same index twice")
    return SparseVector(positions, numbers[order])


def _hash(digest: blake2b, numbers: NDArray[Any], little_endian: str) -> None:
    numbers = np.ascontiguousarray(numbers, dtype=little_endian)
    together, at_once = numbers.data, HASHED_AT_ONCE // numbers.itemsize
    for start in range(0, len(together), at_once):
        digest.update(together[start : start + at_once])


def _first_stranger(raw: list[Any]) -> str:
    place, value = next((place, value) for place, value in enumerate(raw) if type(value) not in NUMBERS)
    return f"{_kind(value)} at position {place}, where a number should be"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "true or false", str: "text", list: "a list", dict: "an object", int: "a number", float: "a number"}
    return names.get(type(value), "something else")


def _malformed(detail: str) -> QuarantineError:
    return QuarantineError(Reason.MALFORMED, detail)


def _not_finite(raw: list[Any], vector: NDArray[np.float32]) -> QuarantineError:
    place = int(np.flatnonzero(~np.isfinite(vector))[0])
    return QuarantineError(Reason.NOT_FINITE, f"{float(raw[place])!r} at position {place} is not finite in float32")


def _check_sparse(name: str, vector: SparseVector) -> None:
    indices, values = vector.indices, vector.values
    if not _is_array(indices, np.int32) or not _is_array(values, np.float32) or indices.shape != values.shape:
        raise _unfit(name, "is not int32 indices with as many float32 values")
    if indices.size and (indices[0] < 0 or (indices[1:] <= indices[:-1]).any()):
        raise _unfit(name, "has indices that are negative, repeated or out of order")


def _is_array(value: Any, dtype: type[np.generic]) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype == dtype


def _unfit(name: str, problem: str) -> QuarantineError:
    return QuarantineError(Reason.MALFORMED, f"vector {name!r} {problem}")
