"""An upsert's body, checked as a whole before any of it is stored."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vectorferry.connector.sandbox._http import RefusedError
from vectorferry.connector.sandbox._pinecone._index import IndexSpec
from vectorferry.connector.sandbox._pinecone._metadata import metadata_bytes
from vectorferry.connector.sandbox._pinecone._names import record_id
from vectorferry.connector.sandbox._pinecone._numbers import dense_rows, sparse_values
from vectorferry.connector.sandbox._pinecone._records import Record, Sparse

__all__ = ["checked_dense", "checked_sparse", "parse_records", "wire_size"]

_MOST_RECORDS = 1_000
_KEYS = frozenset({"id", "values", "sparseValues", "metadata"})


def parse_records(rows: Any, spec: IndexSpec) -> list[Record]:
    """Records in the order in which they came; raises a `RefusedError` for the first wrong one."""
    if not isinstance(rows, list) or not 1 <= len(rows) <= _MOST_RECORDS:
        count = len(rows) if isinstance(rows, list) else "none"
        raise RefusedError(400, f"vectors must be a list of 1 to {_MOST_RECORDS} records, got {count}")
    ids = [record_id(_checked_row(row).get("id")) for row in rows]
    sparse = [_sparse(row, spec) for row in rows]
    metadata = [metadata_bytes(row.get("metadata")) for row in rows]
    return [Record(*parts) for parts in zip(ids, _dense(rows, spec), sparse, metadata, strict=True)]


def wire_size(records: list[Record]) -> int:
    """Bytes of the records as float32 values, JSON metadata and ids, which is what the size limit is about."""
    return sum(_size(record) for record in records)


def checked_dense(rows: list[Any], spec: IndexSpec) -> NDArray[np.float32]:
    """Dense values, shape (rows, dimension), for an index that takes them."""
    if spec.dimension is None:
        raise RefusedError(400, "Dense values have no place in a sparse index")
    return dense_rows(rows, spec.dimension)


def checked_sparse(given: Any, spec: IndexSpec) -> Sparse:
    """Sparse values for an index that takes them."""
    if not spec.takes_sparse:
        message = "Index configuration does not support sparse values - only indexes with metric dotproduct do"
        raise RefusedError(400, message)
    return sparse_values(given)


def _checked_row(row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise RefusedError(400, "Each vector must be an object")
    if row.keys() - _KEYS:
        raise RefusedError(400, f"Unknown key in a vector: {min(row.keys() - _KEYS)!r}")
    return row


def _dense(rows: list[dict[str, Any]], spec: IndexSpec) -> list[NDArray[np.float32]] | list[None]:
    values = [row.get("values") for row in rows]
    if spec.dimension is None and not any(values):
        return [None] * len(rows)
    # Each row is copied: a view would keep its whole batch in memory for as long as one of its records lives.
    return [row.copy() for row in checked_dense(values, spec)]


def _sparse(row: dict[str, Any], spec: IndexSpec) -> Sparse | None:
    given = row.get("sparseValues")
    if given is not None:
        return checked_sparse(given, spec)
    if spec.dimension is None:
        raise RefusedError(400, "Sparse values are required in a sparse index")
    return None


def _size(record: Record) -> int:
    dense = 0 if record.values is None else record.values.nbytes
    sparse = 0 if record.sparse is None else record.sparse.indices.nbytes + record.sparse.values.nbytes
    return dense + sparse + len(record.metadata) + len(record.record_id)
