"""What a project has: indexes, namespaces, and records as reads see them so far; and a look at all of it."""

from __future__ import annotations

import hashlib
import re
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, Literal, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from vectorferry.connector.sandbox._http import RefusedError
from vectorferry.connector.sandbox._settings import PineconeDialect

DEFAULT_NAMESPACE = "__default__"
Metric: TypeAlias = Literal["cosine", "dotproduct", "euclidean"]
_ASCII = re.compile(r"[\x01-\x7f]{1,512}")
_NO_VALUES: NDArray[np.float32] = np.empty(0, dtype=np.float32)


def checked_id(value: Any) -> str:
    """An id, 1 to 512 ASCII characters without NUL; raises a `RefusedError` for anything else."""
    if not isinstance(value, str) or not _ASCII.fullmatch(value):
        raise RefusedError(400, f"Vector ID must be 1 to 512 ASCII characters, got {str(value)[:80]!r}")
    return value


def namespace_name(name: Any) -> str:
    """The namespace meant: the empty name, no name and ``__default__`` are the same one."""
    if name is None or name == "":
        return DEFAULT_NAMESPACE
    if not isinstance(name, str) or not _ASCII.fullmatch(name):
        raise RefusedError(400, f"Namespace must be 1 to 512 ASCII characters, got {str(name)[:80]!r}")
    return name


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
        dense = _NO_VALUES if self.values is None else self.values
        shown: dict[str, Any] = {"id": self.record_id, "values": dense if values else _NO_VALUES}
        if values and self.sparse is not None:
            shown["sparseValues"] = self.sparse.shown()
        if metadata and self.metadata:
            shown["metadata"] = orjson.Fragment(self.metadata)
        return shown


Changes: TypeAlias = Mapping[str, Record | None]


class Namespace:
    """Every write has a log sequence number; reads see it `lag` seconds later.

    `written` and `visible` map ids to records, `lsn` is that of the last write, `indexed_lsn` that of the last one
    that reads see.
    """

    def __init__(self, lag: float, lsn: int) -> None:
        self.written: dict[str, Record] = {}
        self.visible: dict[str, Record] = {}
        self.lsn = lsn
        self.indexed_lsn = lsn
        self._lag = lag
        self._waiting: deque[tuple[float, int, Changes]] = deque()
        self._sorted: list[str] | None = None

    def write(self, changes: Changes) -> None:
        """Put records in, in place of those with their ids; None takes one out."""
        self.lsn += 1
        _apply(self.written, changes)
        self._waiting.append((time.monotonic() + self._lag, self.lsn, changes))
        self.settle()

    def settle(self, *, everything: bool = False) -> None:
        """Let reads see the writes whose time has come."""
        now = time.monotonic()
        while self._waiting and (everything or self._waiting[0][0] <= now):
            _, self.indexed_lsn, changes = self._waiting.popleft()
            _apply(self.visible, changes)
            self._sorted = None

    def ids(self) -> list[str]:
        """The visible ids in the order of their bytes."""
        if self._sorted is None:
            self._sorted = sorted(self.visible)
        return self._sorted


def _apply(records: dict[str, Record], changes: Changes) -> None:
    for record_id, record in changes.items():
        if record is None:
            records.pop(record_id, None)
        else:
            records[record_id] = record


@dataclass(slots=True)
class IndexSpec:
    """`dimension` is None for a sparse index; `sparse_field` says whether a schema named the sparse field."""

    name: str
    metric: Metric
    dimension: int | None
    sparse_field: bool
    cloud: str
    region: str
    protected: bool = False
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def vector_type(self) -> str:
        """`dense` or `sparse`."""
        return "sparse" if self.dimension is None else "dense"

    @property
    def takes_sparse(self) -> bool:
        """Whether records may hold sparse values: beside dense ones only where the metric is the dot product."""
        return self.metric == "dotproduct"


class Index:
    """Namespaces come with their first write. LSNs go on rising when a namespace is deleted and made again."""

    def __init__(self, spec: IndexSpec, dialect: PineconeDialect) -> None:
        self.spec = spec
        self.port = 0
        self.namespaces: dict[str, Namespace] = {}
        self._lag = dialect.visible_after_ms / 1000
        self._last_lsn: dict[str, int] = {}

    def find(self, name: str) -> Namespace | None:
        """The namespace of this name, with all the writes that reads may see by now."""
        namespace = self.namespaces.get(name)
        if namespace is not None:
            namespace.settle()
        return namespace

    def namespace(self, name: str) -> Namespace:
        """The namespace of this name, or a 404."""
        namespace = self.find(name)
        if namespace is None:
            raise RefusedError(404, "Namespace not found")
        return namespace

    def ensure(self, name: str) -> Namespace:
        """The namespace of this name, made if it is new."""
        if name not in self.namespaces:
            self.namespaces[name] = Namespace(self._lag, self._last_lsn.get(name, 0))
        return self.namespaces[name]

    def remove(self, name: str) -> None:
        """Take a namespace out, with all its records, at once."""
        self._last_lsn[name] = self.namespaces.pop(name).lsn


class Project:
    """Indexes by name, in the order in which they were made."""

    def __init__(self, dialect: PineconeDialect) -> None:
        self.dialect = dialect
        self.indexes: dict[str, Index] = {}

    def add(self, spec: IndexSpec) -> Index:
        """A new, empty index; raises a `RefusedError` when the name is taken or there are too many."""
        if spec.name in self.indexes:
            raise RefusedError(409, "Resource already exists.")
        if len(self.indexes) >= self.dialect.max_indexes:
            most = self.dialect.max_indexes
            raise RefusedError(
                403, f"Request failed. You've reached the max serverless indexes of this project ({most})."
            )
        self.indexes[spec.name] = Index(spec, self.dialect)
        return self.indexes[spec.name]

    def index(self, name: str) -> Index:
        """The index of this name, or a 404."""
        if name not in self.indexes:
            raise RefusedError(404, f"Index {name} not found.")
        return self.indexes[name]

    def remove(self, name: str) -> Index:
        """Take an index out; raises a `RefusedError` when there is none or it is protected."""
        index = self.index(name)
        if index.spec.protected:
            message = "Deletion protection is enabled for this index. Disable deletion protection before retrying."
            raise RefusedError(403, message)
        return self.indexes.pop(name)


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
            digest = hashlib.sha256()
            for record in sorted(self._written(index, namespace), key=lambda one: one.record_id):
                digest.update(_digest(record))
            return digest.hexdigest()

    def digests(self, index: str) -> dict[str, dict[str, Any]]:
        """The number of records and the digest of each namespace of an index."""
        counts = self.namespaces(index)
        return {name: {"records": count, "digest": self.digest(index, name)} for name, count in counts.items()}

    def settle(self) -> None:
        """Let reads see everything that has been written."""
        with self._lock:
            for index in self._project.indexes.values():
                for namespace in index.namespaces.values():
                    namespace.settle(everything=True)

    def _written(self, index: str, namespace: str) -> Iterator[Record]:
        stored = self._project.indexes[index].namespaces.get(namespace_name(namespace))
        return iter(()) if stored is None else iter(stored.written.values())


def _plain(record: Record) -> dict[str, Any]:
    sparse = record.sparse
    pairs = None if sparse is None else dict(zip(sparse.indices.tolist(), sparse.values.tolist(), strict=True))
    return {"values": record.values, "sparse": pairs, "metadata": record.fields()}


def _digest(record: Record) -> bytes:
    plain = _plain(record)
    sparse = sorted((plain["sparse"] or {}).items())
    dense = b"" if record.values is None else record.values.tobytes()
    return hashlib.sha256(repr((record.record_id, dense, sparse, sorted(plain["metadata"].items()))).encode()).digest()
