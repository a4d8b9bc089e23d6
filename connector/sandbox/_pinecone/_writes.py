"""Upsert, update and delete: a body is checked as a whole before any of it is stored.

Every write is applied whole or not at all, and raises the namespace's LSN by one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from vectorferry.connector.sandbox._http import Handlers, RefusedError, Reply, Request, json_object
from vectorferry.connector.sandbox._pinecone._requests import Context, RequestBody, compile_filter, parse_body
from vectorferry.connector.sandbox._pinecone._store import (
    IndexSpec,
    Namespace,
    Record,
    Sparse,
    checked_id,
    namespace_name,
)

writes: Handlers[Context] = Handlers()
_MOST_IDS = 1_000
_MOST_RECORDS = 1_000
_MOST_SPARSE = 2_048
_LARGEST_INDEX = 2**32 - 1
_LARGEST_METADATA = 40_960
_KEYS = frozenset({"id", "values", "sparseValues", "metadata"})


@writes("pinecone.upsert", "POST", "/vectors/upsert")
def _upsert(context: Context, request: Request) -> Reply:
    if context.dialect.size_rule == "body":
        _check_size(context, len(request.body))
    body = json_object(request.body or b"{}")
    name = namespace_name(body.get("namespace"))
    records = _parse_records(body.get("vectors"), context.index.spec)
    size = sum(_wire_size(record) for record in records)
    if context.dialect.size_rule == "float32":
        _check_size(context, size)
    context.rates.admit("upsert", name)
    context.rates.admit_upserted(size, name)
    context.index.ensure(name).write({record.record_id: record for record in records})
    return context.written(name, {"upsertedCount": len(records)})


def _check_size(context: Context, size: int) -> None:
    most = context.dialect.request_bytes
    if size > most:
        message = f"Request size {size} bytes exceeds the maximum supported size of {most} bytes"
        raise RefusedError(context.dialect.oversize_status, message, kind="11")


def _wire_size(record: Record) -> int:
    # What the size limit is about: float32 values, JSON metadata and the id.
    dense = 0 if record.values is None else record.values.nbytes
    sparse = 0 if record.sparse is None else record.sparse.indices.nbytes + record.sparse.values.nbytes
    return dense + sparse + len(record.metadata) + len(record.record_id)


class Update(RequestBody):
    """``POST /vectors/update``, by id or by filter."""

    namespace: str | None = None
    id: str | None = None
    values: list[Any] | None = None
    sparse_values: dict[str, Any] | None = None
    set_metadata: dict[str, Any] | None = None
    filter: dict[str, Any] | None = None


@writes("pinecone.update", "POST", "/vectors/update")
def _update(context: Context, request: Request) -> Reply:
    body = parse_body(Update, request.body)
    name = namespace_name(body.namespace)
    if (body.id is None) == (body.filter is None):
        raise RefusedError(400, "An update needs either id or filter")
    if body.filter is not None:
        return _update_matching(context, name, body, body.filter)
    record_id = checked_id(body.id)
    context.rates.admit("update", name)
    namespace = context.index.find(name)
    record = None if namespace is None else namespace.written.get(record_id)
    updated = _updated(record or Record(record_id, None, None, b""), body, context.index.spec)
    if namespace is not None:
        namespace.write({} if record is None else {record_id: updated})
    return context.written(name, {})


def _update_matching(context: Context, name: str, body: Update, conditions: dict[str, Any]) -> Reply:
    if not conditions or not body.set_metadata or body.values is not None or body.sparse_values is not None:
        raise RefusedError(400, "An update by filter needs a filter and setMetadata, and takes no values")
    context.rates.admit("update", name)
    namespace = context.index.find(name)
    if namespace is None:
        return context.written(name, {"matchedRecords": 0})
    matching = _matching(namespace, conditions)
    namespace.write({record.record_id: _updated(record, body, context.index.spec) for record in matching})
    return context.written(name, {"matchedRecords": len(matching)})


def _updated(record: Record, body: Update, spec: IndexSpec) -> Record:
    if body.values is not None:
        record = replace(record, values=checked_dense([body.values], spec)[0])
    if body.sparse_values is not None:
        record = replace(record, sparse=checked_sparse(body.sparse_values, spec))
    if body.set_metadata:
        record = replace(record, metadata=_metadata_bytes({**record.fields(), **body.set_metadata}))
    return record


class Delete(RequestBody):
    """``POST /vectors/delete``: ids, everything, or what a filter finds."""

    namespace: str | None = None
    ids: list[str] | None = None
    delete_all: bool = False
    filter: dict[str, Any] | None = None


@writes("pinecone.delete", "POST", "/vectors/delete")
def _delete(context: Context, request: Request) -> Reply:
    body = parse_body(Delete, request.body)
    name = namespace_name(body.namespace)
    if body.filter is not None and not body.delete_all:
        if not body.filter:
            raise RefusedError(400, "A delete by filter needs a filter that is not empty")
        context.rates.admit("delete", name)
        namespace = context.index.namespace(name)
        namespace.write(dict.fromkeys(record.record_id for record in _matching(namespace, body.filter)))
        return context.written(name, {})
    if body.delete_all == bool(body.ids) or body.filter is not None:
        raise RefusedError(400, "A delete needs one of ids, deleteAll and filter")
    ids = [checked_id(one) for one in body.ids or ()]
    if len(ids) > _MOST_IDS:
        raise RefusedError(400, f"At most {_MOST_IDS} ids can be deleted at once, got {len(ids)}")
    context.rates.admit("delete", name)
    context.rates.admit_deleted(len(ids))
    namespace = context.index.namespace(name)
    namespace.write(dict.fromkeys(ids or list(namespace.written)))
    reply = context.written(name, {})
    if body.delete_all and context.dialect.delete_all_removes_namespace:
        context.index.remove(name)
    return reply


def _matching(namespace: Namespace, conditions: dict[str, Any]) -> list[Record]:
    passes = compile_filter(conditions)
    return [record for record in namespace.written.values() if passes(record.fields())]


# Records as they come in JSON, checked, and stored as float32.


def _parse_records(rows: Any, spec: IndexSpec) -> list[Record]:
    """Records in the order in which they came; raises a `RefusedError` for the first wrong one."""
    if not isinstance(rows, list) or not 1 <= len(rows) <= _MOST_RECORDS:
        count = len(rows) if isinstance(rows, list) else "none"
        raise RefusedError(400, f"vectors must be a list of 1 to {_MOST_RECORDS} records, got {count}")
    ids = [checked_id(_checked_row(row).get("id")) for row in rows]
    sparse = [_sparse(row, spec) for row in rows]
    metadata = [_metadata_bytes(row.get("metadata")) for row in rows]
    return [Record(*parts) for parts in zip(ids, _dense(rows, spec), sparse, metadata, strict=True)]


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
    values = row.get("sparseValues")
    if values is not None:
        return checked_sparse(values, spec)
    if spec.dimension is None:
        raise RefusedError(400, "Sparse values are required in a sparse index")
    return None


def checked_dense(rows: list[Any], spec: IndexSpec) -> NDArray[np.float32]:
    """Dense values, shape (rows, dimension), float32; raises a `RefusedError` for what the index does not take."""
    if spec.dimension is None:
        raise RefusedError(400, "Dense values have no place in a sparse index")
    for row in rows:
        if not isinstance(row, list):
            raise RefusedError(400, "values must be a list of numbers")
        if len(row) != spec.dimension:
            message = f"Vector dimension {len(row)} does not match the dimension of the index {spec.dimension}"
            raise RefusedError(400, message)
        _check_numbers(row, "values")
    matrix = _float32(rows, "values")
    if not matrix.any(axis=1).all():
        raise RefusedError(400, "Dense vectors must contain at least one non-zero value")
    return matrix


def checked_sparse(sparse: Any, spec: IndexSpec) -> Sparse:
    """``{"indices": […], "values": […]}`` for an index that takes it; raises a `RefusedError` for anything else."""
    if not spec.takes_sparse:
        message = "Index configuration does not support sparse values - only indexes with metric dotproduct do"
        raise RefusedError(400, message)
    if not isinstance(sparse, dict) or sparse.keys() != {"indices", "values"}:
        raise RefusedError(400, "A sparse vector has indices and values, and nothing else")
    indices, values = sparse["indices"], sparse["values"]
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


def _check_numbers(numbers: list[Any], name: str) -> None:
    # By type, as numpy would take strings, booleans and nulls for numbers too.
    if not set(map(type, numbers)) <= {int, float}:
        raise RefusedError(400, f"{name} must be numbers")


def _float32(numbers: list[Any], name: str) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        stored = np.array(numbers, dtype=np.float32)
    if not np.isfinite(stored).all():
        raise RefusedError(400, f"{name} must be finite 32-bit floats")
    return stored


def _metadata_bytes(metadata: Any) -> bytes:
    """Checked metadata as JSON, numbers as float64; empty for none. Raises a `RefusedError` for anything else."""
    if not metadata and (metadata is None or isinstance(metadata, dict)):
        return b""
    if not isinstance(metadata, dict):
        raise RefusedError(400, "metadata must be an object")
    stored = orjson.dumps({key: _metadata_value(key, value) for key, value in metadata.items()})
    if len(stored) > _LARGEST_METADATA:
        message = (
            f"Metadata size is {len(stored)} bytes, which exceeds the limit of {_LARGEST_METADATA} bytes per vector"
        )
        raise RefusedError(400, message)
    return stored


def _metadata_value(key: str, value: Any) -> Any:
    if key.startswith("$"):
        raise RefusedError(400, f"Metadata key must not start with '$', got '{key}'")
    match value:
        case str() | bool() | float():
            return value
        case int():
            return float(value)
        case list() if all(isinstance(one, str) for one in value):
            return value
    shown = "null" if value is None else orjson.dumps(value).decode()[:80]
    message = f"Metadata value must be a string, number, boolean or list of strings, got '{shown}' for field '{key}'"
    raise RefusedError(400, message)
