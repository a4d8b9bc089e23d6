"""What every handler of one index's data plane needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from vectorferry.connector.sandbox._http import Reply, json_reply
from vectorferry.connector.sandbox._pinecone._index import Index
from vectorferry.connector.sandbox._pinecone._rates import Rates
from vectorferry.connector.sandbox._settings import PineconeDialect

__all__ = ["Context"]


@dataclass(frozen=True, slots=True)
class Context:
    """The index, the dialect to serve it in, and how often it may be asked."""

    index: Index
    dialect: PineconeDialect
    rates: Rates
    _requests: count[int] = field(default_factory=lambda: count(1))

    def reply(self, value: Any, headers: Mapping[str, str] | None = None) -> Reply:
        """An answer with a request id of its own."""
        reply = json_reply(value)
        reply.headers = {"x-pinecone-request-id": f"{next(self._requests):016d}", **(headers or {})}
        return reply

    def written(self, name: str, value: Any) -> Reply:
        """The answer to a write, with the LSN that it has; a namespace that is not there has none."""
        namespace = self.index.namespaces.get(name)
        headers = {} if namespace is None else {"x-pinecone-request-lsn": str(namespace.lsn)}
        return self.reply(value, headers)
