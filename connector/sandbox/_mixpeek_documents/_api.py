"""Mixpeek's documents API (its second generation, as of late 2026) as one set of routes, with its error bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._mixpeek_documents._objects import objects
from vectorferry.connector.sandbox._mixpeek_documents._reads import reads
from vectorferry.connector.sandbox._mixpeek_documents._requests import Context
from vectorferry.connector.sandbox._mixpeek_documents._searches import searches
from vectorferry.connector.sandbox._mixpeek_documents._store import DocumentStore
from vectorferry.connector.sandbox._mixpeek_documents._writes import writes
from vectorferry.connector.sandbox._settings import Keys, MixpeekDocumentsDialect, SandboxKey

PREFIX: Final = "/mixpeek-documents"
"""Where it is served: some of its paths are those of the first generation."""

_KINDS: Final = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "AlreadyExists",
    422: "Validation",
    429: "TooManyRequests",
    503: "InferenceServiceUnavailable",
}


def _list_name(request: Request) -> str:
    """A cheap list, or one with vectors: what they cost is far apart."""
    return "documents.vectors" if b'"return_vector' in request.body else "documents.list"


class MixpeekDocumentsApi:
    """Serves a store of documents the way Mixpeek does in November 2026."""

    def __init__(self, store: DocumentStore, dialect: MixpeekDocumentsDialect, keys: Keys) -> None:
        self._store = store
        self._dialect = dialect
        self._keys = keys

    @property
    def routes(self) -> Sequence[Route]:
        """Every route."""
        organization = Route(
            "documents.organizations.get", "GET", f"{PREFIX}/v1/organizations", self._organization, PREFIX
        )
        of_all = (reads, writes, searches, objects)
        routes = [*(route for each in of_all for route in each.routes(self._context, PREFIX)), organization]
        return [replace(route, variant=_list_name) if route.name == "documents.list" else route for route in routes]

    def authorize(self, request: Request) -> None:
        """The key. A namespace that nobody knows is not refused here: lists answer with nothing and a warning."""
        self._key(request)

    def refuse(self, refusal: RefusedError) -> Reply:
        """The one envelope that every error has by now."""
        kind = refusal.kind or _KINDS.get(refusal.status, "InternalServerError")
        error: dict[str, Any] = {"message": refusal.message, "type": f"{kind}Error"}
        if refusal.details is not None:
            error["details"] = refusal.details
        reply = json_reply({"success": False, "status": refusal.status, "error": error}, refusal.status)
        reply.headers = refusal.headers
        return reply

    def _key(self, request: Request) -> SandboxKey:
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        key = self._keys.get(text)
        if scheme != "Bearer" or key is None:
            raise RefusedError(401, "Invalid API key")
        return key

    def _context(self, request: Request) -> Context:
        """What the request's key sees in its namespace."""
        named = request.headers.get("X-Namespace")
        namespace = self._store.namespace(named) if named else None
        share = self._key(request).share
        if named in self._dialect.namespace_shares:
            namespace = next(iter(self._store.namespaces.values()))
            share *= self._dialect.namespace_shares[named]
        return Context(self._store, self._dialect, namespace, share)

    def _organization(self, request: Request) -> Reply:
        key = self._key(request)
        if not self._dialect.organizations:
            raise RefusedError(404, "No such path: /v1/organizations")
        if not key.reads_organization:
            raise RefusedError(403, "This key may not read its organization")
        return json_reply({"organization_id": key.organization, "organization_name": key.organization.title()})
