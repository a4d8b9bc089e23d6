"""Namespaces as things of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route
from vectorferry.connector.sandbox._pinecone._bodies import NewNamespace, parse_body
from vectorferry.connector.sandbox._pinecone._context import Context
from vectorferry.connector.sandbox._pinecone._names import DEFAULT_NAMESPACE, namespace_name
from vectorferry.connector.sandbox._pinecone._paging import page_of, page_size, pagination

__all__ = ["NamespaceHandlers"]


class NamespaceHandlers:
    """Lists, describes, makes and deletes namespaces. Counts are decimal strings, as gRPC writes int64 in JSON."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._index = context.index

    def routes(self) -> Sequence[Route]:
        """Every endpoint about namespaces."""
        return [
            Route("pinecone.namespaces.list", "GET", "/namespaces", self._list),
            Route("pinecone.namespaces.create", "POST", "/namespaces", self._create),
            Route("pinecone.namespaces.get", "GET", "/namespaces/{name}", self._get),
            Route("pinecone.namespaces.delete", "DELETE", "/namespaces/{name}", self._delete),
        ]

    def _list(self, request: Request) -> Reply:
        size = page_size(request.query.get("limit"))
        prefix = request.query.get("prefix", "")
        names = sorted(name for name in self._index.namespaces if name.startswith(prefix))
        found, token = page_of(names, prefix, size, request.query.get("paginationToken") or None)
        listed = {"namespaces": [self._shown(name) for name in found], "total_count": len(names)}
        return self._context.reply({**listed, **pagination(token)})

    def _create(self, request: Request) -> Reply:
        name = namespace_name(parse_body(NewNamespace, request.body).name)
        if name == DEFAULT_NAMESPACE:
            raise RefusedError(400, "The default namespace cannot be created")
        if name in self._index.namespaces:
            raise RefusedError(409, f"Namespace {name} already exists")
        self._index.made(name)
        return self._context.reply(self._shown(name))

    def _get(self, request: Request) -> Reply:
        return self._context.reply(self._shown(namespace_name(request.params[0])))

    def _delete(self, request: Request) -> Reply:
        name = namespace_name(request.params[0])
        self._index.known(name)
        self._index.remove(name)
        return self._context.reply({})

    def _shown(self, name: str) -> dict[str, Any]:
        records = self._index.known(name).visible.values()
        size = sum(0 if record.values is None else record.values.nbytes for record in records)
        return {"name": name, "record_count": str(len(records)), "size_bytes": str(size)}
