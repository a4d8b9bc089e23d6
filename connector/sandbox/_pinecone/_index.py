"""One index: its configuration, and its namespaces."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

from vectorferry.connector.sandbox._http import RefusedError
from vectorferry.connector.sandbox._pinecone._namespace import Namespace
from vectorferry.connector.sandbox._settings import PineconeDialect

__all__ = ["Index", "IndexSpec", "Metric"]

Metric = Literal["cosine", "dotproduct", "euclidean"]


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
        self._ready_at = time.monotonic() + dialect.ready_after_ms / 1000
        self._last_lsn: dict[str, int] = {}

    @property
    def ready(self) -> bool:
        """Whether it serves yet."""
        return time.monotonic() >= self._ready_at

    def find(self, name: str) -> Namespace | None:
        """The namespace of this name, with all the writes that reads may see by now."""
        namespace = self.namespaces.get(name)
        if namespace is not None:
            namespace.settle()
        return namespace

    def known(self, name: str) -> Namespace:
        """The namespace of this name, or a 404."""
        namespace = self.find(name)
        if namespace is None:
            raise RefusedError(404, "Namespace not found")
        return namespace

    def made(self, name: str) -> Namespace:
        """The namespace of this name, made if it is new."""
        if name not in self.namespaces:
            self.namespaces[name] = Namespace(self._lag, self._last_lsn.get(name, 0))
        return self.namespaces[name]

    def remove(self, name: str) -> None:
        """Take a namespace out, with all its records, at once."""
        self._last_lsn[name] = self.namespaces.pop(name).lsn
