"""Upsert, update and delete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route
from vectorferry.connector.sandbox._pinecone._bodies import Delete, Update, parse_body, parse_object
from vectorferry.connector.sandbox._pinecone._context import Context
from vectorferry.connector.sandbox._pinecone._filters import compile_filter
from vectorferry.connector.sandbox._pinecone._metadata import metadata_bytes
from vectorferry.connector.sandbox._pinecone._names import namespace_name, record_id
from vectorferry.connector.sandbox._pinecone._namespace import Namespace
from vectorferry.connector.sandbox._pinecone._records import Record
from vectorferry.connector.sandbox._pinecone._upsert import checked_dense, checked_sparse, parse_records, wire_size

__all__ = ["WriteHandlers"]

_MOST_IDS = 1_000


class WriteHandlers:
    """Every write is applied whole or not at all, and raises the namespace's LSN by one."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._index = context.index

    def routes(self) -> Sequence[Route]:
        """Every endpoint that changes records."""
        return [
            Route("pinecone.upsert", "POST", "/vectors/upsert", self._upsert),
            Route("pinecone.update", "POST", "/vectors/update", self._update),
            Route("pinecone.delete", "POST", "/vectors/delete", self._delete),
        ]

    def _upsert(self, request: Request) -> Reply:
        if self._context.dialect.size_rule == "body":
            self._check_size(len(request.body))
        body = parse_object(request.body)
        name = namespace_name(body.get("namespace"))
        records = parse_records(body.get("vectors"), self._index.spec)
        size = wire_size(records)
        if self._context.dialect.size_rule == "float32":
            self._check_size(size)
        self._context.rates.upsert(name, size)
        self._index.made(name).write({record.record_id: record for record in records})
        return self._context.written(name, {"upsertedCount": len(records)})

    def _check_size(self, size: int) -> None:
        most = self._context.dialect.request_bytes
        if size > most:
            message = f"Request size {size} bytes exceeds the maximum supported size of {most} bytes"
            raise RefusedError(self._context.dialect.oversize_status, message, kind="11")

    def _update(self, request: Request) -> Reply:
        body = parse_body(Update, request.body)
        name = namespace_name(body.namespace)
        if (body.id is None) == (body.filter is None):
            raise RefusedError(400, "An update needs either id or filter")
        if body.filter is not None:
            return self._update_found(name, body, body.filter)
        wanted = record_id(body.id)
        self._context.rates.change("update", name, 1)
        namespace = self._index.find(name)
        known = None if namespace is None else namespace.written.get(wanted)
        updated = self._updated(known or Record(wanted, None, None, b""), body)
        if namespace is not None:
            namespace.write({} if known is None else {wanted: updated})
        return self._context.written(name, {})

    def _update_found(self, name: str, body: Update, wanted: dict[str, Any]) -> Reply:
        if not wanted or not body.set_metadata or body.values is not None or body.sparse_values is not None:
            raise RefusedError(400, "An update by filter needs a filter and setMetadata, and takes no values")
        self._context.rates.change_by_filter("update", name)
        namespace = self._index.find(name)
        if namespace is None:
            return self._context.written(name, {"matchedRecords": 0})
        found = _found(namespace, wanted)
        if not body.dry_run:
            namespace.write({record.record_id: self._updated(record, body) for record in found})
        return self._context.written(name, {"matchedRecords": len(found)})

    def _updated(self, known: Record, body: Update) -> Record:
        spec = self._index.spec
        record = known
        if body.values is not None:
            record = replace(record, values=checked_dense([body.values], spec)[0])
        if body.sparse_values is not None:
            record = replace(record, sparse=checked_sparse(body.sparse_values, spec))
        if body.set_metadata:
            record = replace(record, metadata=metadata_bytes({**known.fields(), **body.set_metadata}))
        return record

    def _delete(self, request: Request) -> Reply:
        body = parse_body(Delete, request.body)
        name = namespace_name(body.namespace)
        if body.filter is not None and not body.delete_all:
            return self._delete_found(name, body.filter)
        if body.delete_all == bool(body.ids) or body.filter is not None:
            raise RefusedError(400, "A delete needs one of ids, deleteAll and filter")
        ids = [record_id(one) for one in body.ids or ()]
        if len(ids) > _MOST_IDS:
            raise RefusedError(400, f"At most {_MOST_IDS} ids can be deleted at once, got {len(ids)}")
        self._context.rates.change("delete", name, len(ids))
        namespace = self._index.known(name)
        namespace.write(dict.fromkeys(ids or list(namespace.written)))
        reply = self._context.written(name, {})
        if body.delete_all and self._context.dialect.delete_all_removes_namespace:
            self._index.remove(name)
        return reply

    def _delete_found(self, name: str, wanted: dict[str, Any]) -> Reply:
        if not wanted:
            raise RefusedError(400, "A delete by filter needs a filter that is not empty")
        self._context.rates.change_by_filter("delete", name)
        namespace = self._index.known(name)
        namespace.write(dict.fromkeys(record.record_id for record in _found(namespace, wanted)))
        return self._context.written(name, {})


def _found(namespace: Namespace, wanted: dict[str, Any]) -> list[Record]:
    passes = compile_filter(wanted)
    return [record for record in namespace.written.values() if passes(record.fields())]
