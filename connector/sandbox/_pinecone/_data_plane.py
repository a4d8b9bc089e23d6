"""The API of one index, served on a port of its own."""

from __future__ import annotations

from collections.abc import Sequence

from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route
from vectorferry.connector.sandbox._pinecone._access import check_access
from vectorferry.connector.sandbox._pinecone._context import Context
from vectorferry.connector.sandbox._pinecone._errors import data_refusal
from vectorferry.connector.sandbox._pinecone._index import Index
from vectorferry.connector.sandbox._pinecone._namespaces import NamespaceHandlers
from vectorferry.connector.sandbox._pinecone._query import QueryHandlers
from vectorferry.connector.sandbox._pinecone._rates import Rates
from vectorferry.connector.sandbox._pinecone._reads import ReadHandlers
from vectorferry.connector.sandbox._pinecone._writes import WriteHandlers
from vectorferry.connector.sandbox._settings import PineconeDialect

__all__ = ["DataPlane"]


class DataPlane:
    """Vectors of one index, as every API version from 2025-04 to 2026-07 serves them."""

    def __init__(self, index: Index, dialect: PineconeDialect, api_key: str) -> None:
        self._index = index
        self._api_key = api_key
        context = Context(index, dialect, Rates(dialect.rates))
        kinds = (WriteHandlers, ReadHandlers, QueryHandlers, NamespaceHandlers)
        self._routes = [route for kind in kinds for route in kind(context).routes()]

    @property
    def routes(self) -> Sequence[Route]:
        """Every endpoint of the index."""
        return self._routes

    def authorize(self, request: Request) -> None:
        """The key, and the version; then the index must be ready."""
        check_access(request, self._api_key)
        if not self._index.ready:
            raise RefusedError(503, f"Index {self._index.spec.name} is initializing")

    def refuse(self, refusal: RefusedError, _style: str | None = None) -> Reply:
        """The refusal as gRPC's status."""
        return data_refusal(refusal)
