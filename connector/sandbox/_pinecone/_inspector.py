"""A look at what the store holds, past its lag and its API, from Python and over HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from threading import RLock
from typing import Any

from vectorferry.connector.sandbox._http import Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._pinecone._store import Project, Record, namespace_name

__all__ = ["PineconeInspector", "inspector_routes"]


class PineconeInspector:
    """What was written to every index, whether reads see it yet or not. Safe from any thread.

    A namespace may be named ``""``, which is the default one. An unknown index raises `KeyError`; an unknown
    namespace is empty.
    """

    def __init__(self, project: Project, lock: RLock) -> None:
        self._project = project
        self._lock = lock

    def indexes(self) -> list[str]:
        """The names of all indexes, in the order in which they were made."""
        with self._lock:
            return list(self._project.indexes)

    def namespaces(self, index: str) -> dict[str, int]:
        """How many records each namespace of an index holds; the default one is called ``__default__``."""
        with self._lock:
            return {name: len(one.written) for name, one in self._project.indexes[index].namespaces.items()}

    def records(self, index: str, namespace: str = "") -> dict[str, dict[str, Any]]:
        """Every record by id: `values` (float32 array or None), `sparse` (index to value) or None, `metadata`."""
        with self._lock:
            return {record.record_id: _plain(record) for record in self._written(index, namespace)}

    def digest(self, index: str, namespace: str = "") -> str:
        """A hash of every id, value and metadata, whatever the order of writing; two equal ones hold the same."""
        with self._lock:
            found = hashlib.sha256()
            for record in sorted(self._written(index, namespace), key=lambda one: one.record_id):
                found.update(_digest(record))
            return found.hexdigest()

    def settle(self) -> None:
        """Let reads see everything that has been written."""
        with self._lock:
            for index in self._project.indexes.values():
                for namespace in index.namespaces.values():
                    namespace.settle(everything=True)

    def _written(self, index: str, namespace: str) -> Iterator[Record]:
        found = self._project.indexes[index].namespaces.get(namespace_name(namespace))
        return iter(()) if found is None else iter(found.written.values())


def _plain(record: Record) -> dict[str, Any]:
    sparse = record.sparse
    pairs = None if sparse is None else dict(zip(sparse.indices.tolist(), sparse.values.tolist(), strict=True))
    return {"values": record.values, "sparse": pairs, "metadata": record.fields()}


def _digest(record: Record) -> bytes:
    plain = _plain(record)
    sparse = sorted((plain["sparse"] or {}).items())
    dense = b"" if record.values is None else record.values.tobytes()
    return hashlib.sha256(repr((record.record_id, dense, sparse, sorted(plain["metadata"].items()))).encode()).digest()


# The inspector over HTTP, under ``/_sandbox/pinecone``, for whoever is not in the same process.


def inspector_routes(inspector: PineconeInspector) -> list[Route]:
    """``GET`` tells the record counts and digests of every namespace; ``POST …/settle`` ends every lag."""

    def contents(_request: Request, /) -> Reply:
        return json_reply({name: _namespaces(inspector, name) for name in inspector.indexes()})

    def settle(_request: Request, /) -> Reply:
        inspector.settle()
        return json_reply({})

    return [
        Route("control", "GET", "/_sandbox/pinecone", contents),
        Route("control", "POST", "/_sandbox/pinecone/settle", settle),
    ]


def _namespaces(inspector: PineconeInspector, index: str) -> dict[str, Any]:
    counts = inspector.namespaces(index)
    return {name: {"records": count, "digest": inspector.digest(index, name)} for name, count in counts.items()}
