"""Dense and sparse values as they come in JSON, checked and stored as float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vectorferry.connector.sandbox._http import RefusedError
from vectorferry.connector.sandbox._pinecone._records import Sparse

__all__ = ["dense_rows", "sparse_values"]

_MOST_SPARSE = 2_048
_NUMBERS = {int, float}
_LARGEST_INDEX = 2**32 - 1


def dense_rows(rows: list[Any], dimension: int) -> NDArray[np.float32]:
    """Rows as one matrix of shape (rows, dimension), float32; raises a `RefusedError` for what is no vector."""
    for row in rows:
        if not isinstance(row, list):
            raise RefusedError(400, "values must be a list of numbers")
        if len(row) != dimension:
            message = f"Vector dimension {len(row)} does not match the dimension of the index {dimension}"
            raise RefusedError(400, message)
        _check_numbers(row, "values")
    matrix = _float32(rows, "values")
    if not matrix.any(axis=1).all():
        raise RefusedError(400, "Dense vectors must contain at least one non-zero value")
    return matrix


def sparse_values(given: Any) -> Sparse:
    """``{"indices": […], "values": […]}``; raises a `RefusedError` for what is no sparse vector."""
    if not isinstance(given, dict) or given.keys() != {"indices", "values"}:
        raise RefusedError(400, "A sparse vector has indices and values, and nothing else")
    indices, values = given["indices"], given["values"]
    if not isinstance(indices, list) or not isinstance(values, list) or len(indices) != len(values):
        raise RefusedError(400, "Sparse vector indices and values must be lists of the same length")
    if not 1 <= len(indices) <= _MOST_SPARSE:
        raise RefusedError(400, f"Sparse vectors must contain 1 to {_MOST_SPARSE} values, got {len(indices)}")
    if not all(type(index) is int and 0 <= index <= _LARGEST_INDEX for index in indices):
        raise RefusedError(400, "Sparse vector indices must be unsigned 32-bit integers")
    if len(set(indices)) != len(indices):
        raise RefusedError(400, "Sparse vector indices must be unique")
    _check_numbers(values, "sparse values")
    return Sparse(np.array(indices, dtype=np.uint32), _float32(values, "sparse values"))


def _check_numbers(numbers: list[Any], what: str) -> None:
    # By type, as numpy would take strings, booleans and nulls for numbers too.
    if not set(map(type, numbers)) <= _NUMBERS:
        raise RefusedError(400, f"{what} must be numbers")


def _float32(numbers: list[Any], what: str) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        stored = np.array(numbers, dtype=np.float32)
    if not np.isfinite(stored).all():
        raise RefusedError(400, f"{what} must be finite 32-bit floats")
    return stored
