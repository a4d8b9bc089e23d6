"""Reading one index through the official SDK: lists, records, queries, and how far queries see.

Written is not visible: queries see what was written some time later, and say so by the store's own sequence numbers.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from pinecone import Index, SparseValues
from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_delay, wait_exponential

from vectorferry.connector.plugin import DenseVector, SparseVector, Vector, Visibility, abandonable, pause, vector_hash
from vectorferry.destinations.pinecone._errors import translated
from vectorferry.destinations.pinecone._manifest_tables import IndexRow, NamespaceRow

_LIST_PAGE: Final = 100
_LONGEST_IDS: Final = 32_000
"""Ids are fetched in a query string, and the SDK cannot send one beyond 64 kB; each character may take three."""

_LONGEST_PAUSE: Final = 2.0
"""Seconds between two looks at how far queries see."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredRecord:
    """A record as the store has it."""

    dense: DenseVector | None
    sparse: SparseVector | None
    metadata: Mapping[str, Any]

    @property
    def digest(self) -> bytes:
        """As `Layout` makes it of the vectors that were sent: floats come back exactly."""
        hashes = [vector_hash(vector) for vector in (self.dense, self.sparse) if vector is not None]
        return hashes[0] if len(hashes) == 1 else blake2b(b"".join(hashes), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Match:
    """One hit of a query."""

    record_id: str
    score: float
    metadata: Mapping[str, Any]


class IndexReader:
    """One index. Every method may raise `RetryableError`, `CredentialsError` or `DestinationError`."""

    def __init__(self, row: IndexRow, sdk: Index, key: str) -> None:
        self._row = row
        self._key = key
        self._sdk = sdk

    def namespaces(self) -> list[str]:
        """Every namespace that there is."""
        with self._translated("listing the namespaces"):
            pages = abandonable(lambda: list(self._sdk.list_namespaces(limit=_LIST_PAGE)))
        return [namespace.name for page in pages for namespace in page.namespaces]

    def pages(self, namespace: str) -> Iterator[list[str]]:
        """The ids of a namespace, in pages, in byte order."""
        with self._translated("listing the records"):
            pages = iter(self._sdk.list(namespace=namespace, limit=_LIST_PAGE))
            while (page := abandonable(lambda: next(pages, None))) is not None:
                if ids := [record.id for record in page.vectors if record.id]:
                    yield ids

    def fetch(self, namespace: str, ids: Sequence[str]) -> Mapping[str, StoredRecord]:
        """These records, as far as they are there."""
        records: dict[str, StoredRecord] = {}
        for some in _fitting(ids):
            with self._translated("reading records"):
                answer = abandonable(partial(self._sdk.fetch, ids=some, namespace=namespace))
            records |= {record_id: _stored(record) for record_id, record in answer.vectors.items()}
        return records

    def query(
        self, namespaces: Sequence[str], vector: Vector, limit: int, filters: Mapping[str, Any]
    ) -> Sequence[Match]:
        """The nearest records of all these namespaces, nearest first."""
        with self._translated("searching"):
            answer = abandonable(
                partial(
                    self._sdk.query_namespaces,
                    namespaces=namespaces,
                    metric=self._row.metric,
                    top_k=limit,
                    filter=filters or None,
                    include_metadata=True,
                    **_near(vector),
                )
            )
        return [Match(match.id, float(match.score), match.metadata or {}) for match in answer.matches]

    def visible(self, namespace: str) -> int | None:
        """The highest write that a query of this namespace sees now; None when the answer does not say."""
        with self._translated("looking how far queries see"):
            answer = abandonable(partial(self._sdk.query, namespace=namespace, top_k=1, **_near(self._any_vector())))
        return answer.response_info.lsn_reconciled if answer.response_info else None

    def close(self) -> None:
        """Release the connections."""
        self._sdk.close()

    def _any_vector(self) -> Vector:
        if self._row.dimension is None:
            return SparseVector(np.zeros(1, np.int32), np.ones(1, np.float32))
        vector: DenseVector = np.eye(1, self._row.dimension, dtype=np.float32)[0]
        return vector

    def _translated(self, doing: str) -> AbstractContextManager[None]:
        return translated(f"{doing} of the index {self._row.name}", self._key)


def visibility_of(row: NamespaceRow) -> Visibility:
    """How far a namespace has been written, and is known to be visible; nobody is asked.

    Where nothing has been written (deletes from a namespace that is not there, say) there is nothing to be seen.
    """
    return Visibility(f"{row.index}/{row.namespace}", row.lsn, row.visible if row.visible or not row.lsn else None)


def wait_until_visible(places: Iterable[tuple[NamespaceRow, IndexReader]], seconds: float) -> Sequence[int | None]:
    """Ask each namespace until it shows all that was written, or the time (for all of them together) is over.

    How far each is seen in the end, by the store's sequence numbers.
    """
    deadline = time.monotonic() + seconds
    return [_wait_for(row, reader, deadline - time.monotonic()) for row, reader in places]


def _wait_for(row: NamespaceRow, reader: IndexReader, seconds: float) -> int | None:
    def last(state: RetryCallState) -> int | None:
        return state.outcome.result() if state.outcome else None

    looking = Retrying(
        retry=retry_if_result(lambda visible: visible is None or visible < row.lsn),
        stop=stop_after_delay(max(seconds, 0)),
        wait=wait_exponential(multiplier=0.05, max=_LONGEST_PAUSE),
        retry_error_callback=last,
        sleep=pause,
    )
    visible: int | None = looking(reader.visible, row.namespace)
    return visible


def _near(vector: Vector) -> dict[str, Any]:
    if isinstance(vector, SparseVector):
        return {"sparse_vector": {"indices": vector.indices.tolist(), "values": vector.values.tolist()}}
    return {"vector": vector.tolist()}


def _stored(record: Any) -> StoredRecord:
    dense = np.array(record.values, dtype=np.float32) if record.values else None
    return StoredRecord(dense, _sparse(record.sparse_values), record.metadata or {})


def _sparse(values: SparseValues | None) -> SparseVector | None:
    """By index, as everywhere: the store promises no order."""
    if values is None or not values.indices:
        return None
    indices = np.array(values.indices, dtype=np.int64).astype(np.int32)
    order = np.argsort(indices)
    return SparseVector(indices[order], np.array(values.values, dtype=np.float32)[order])


def _fitting(ids: Sequence[str]) -> Iterator[list[str]]:
    """The ids in lists that one request can carry."""
    some: list[str] = []
    size = 0
    for record_id in ids:
        if some and (size + len(record_id) > _LONGEST_IDS or len(some) == _LIST_PAGE):
            yield some
            some, size = [], 0
        some.append(record_id)
        size += len(record_id)
    if some:
        yield some
