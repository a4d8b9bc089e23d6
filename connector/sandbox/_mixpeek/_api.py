"""Mixpeek's assets and features API, generation 1, as one set of routes, with its error bodies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._mixpeek._library import Library
from vectorferry.connector.sandbox._mixpeek._media import media
from vectorferry.connector.sandbox._mixpeek._requests import Context
from vectorferry.connector.sandbox._mixpeek._search import search
from vectorferry.connector.sandbox._mixpeek._submit import submitting
from vectorferry.connector.sandbox._settings import Keys, MixpeekDialect, SandboxKey

_HEALTH = "/healthcheck"
_PREFIXES = {"both": ("", "/v1"), "none": ("",), "v1": ("/v1",)}
RELEASES = {
    "/index/url": ("2024-11",),
    "/index/videos/url": ("2024-11", "2024-12"),
    "/index/images/url": ("2024-11", "2024-12"),
    "/index/text": ("2024-11", "2024-12"),
    "/ingest/videos/url": ("2025-01",),
    "/ingest/images/url": ("2025-01",),
    "/ingest/text": ("2025-01",),
    "/features/search/text": ("2024-11", "2024-12"),
    "/features/search": ("2025-01",),
}
"""In which releases a path was served, for those that came or went."""

_KINDS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    429: "TooManyRequests",
}


class MixpeekApi:
    """Serves a library of media the way Mixpeek did between November 2024 and early 2025."""

    def __init__(self, library: Library, dialect: MixpeekDialect, keys: Keys) -> None:
        self._whole = Context(library, dialect)
        self._dialect = dialect
        self._keys = keys
        self._namespaces = {spelling: name for name in dialect.namespaces for spelling in (name, f"ns_{name}")}

    @property
    def routes(self) -> Sequence[Route]:
        """Every route under every prefix of the dialect; the health check has none."""
        routes = [Route("healthcheck", "GET", _HEALTH, lambda _request: json_reply({"status": "healthy"}))]
        for prefix in _PREFIXES[self._dialect.prefixes]:
            of_release = [*submitting.routes(self._context, prefix), *search.routes(self._context, prefix)]
            routes += [*media.routes(self._context, prefix), *filter(self._is_served, of_release)]
            routes.append(Route("organizations.get", "GET", f"{prefix}/organizations", self._organization, prefix))
        return routes

    def _is_served(self, route: Route) -> bool:
        path = route.path.removeprefix(route.prefix)
        return path not in RELEASES or self._dialect.release in ("all", *RELEASES[path])

    def authorize(self, request: Request) -> None:
        """The key, then the namespace if one is named."""
        if request.path == _HEALTH:
            return
        self._key(request)
        namespace = request.headers.get("X-Namespace")
        if namespace is not None and namespace not in self._namespaces:
            raise RefusedError(404, f"Namespace {namespace!r} not found")

    def refuse(self, refusal: RefusedError) -> Reply:
        """The refusal in the dialect's error style; a 422 is FastAPI's list of problems in all of them."""
        reply = json_reply(self._error(refusal), refusal.status)
        reply.headers = refusal.headers
        return reply

    def _error(self, refusal: RefusedError) -> dict[str, Any]:
        message, details = refusal.message, refusal.details
        if refusal.status == 422:
            return {"detail": details}
        kind = refusal.kind or _KINDS.get(refusal.status, "InternalServerError")
        match self._dialect.errors:
            case "detail":
                return {"detail": [{"msg": message}]}
            case "flat":
                return {"error": kind, "message": message, "details": details or {}}
            case _:
                error = {"message": message, "type": f"{kind}Error", "details": details}
                return {"success": False, "status": refusal.status, "error": error}

    def _key(self, request: Request) -> SandboxKey:
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        key = self._keys.get(text)
        if scheme != "Bearer" or key is None:
            raise RefusedError(401, "Invalid API key")
        return key

    def _context(self, request: Request) -> Context:
        """What the request's key sees in its namespace."""
        namespace = request.headers.get("X-Namespace", self._dialect.namespaces[0])
        share = self._key(request).share * self._dialect.namespace_shares.get(self._namespaces[namespace], 1)
        return self._whole if share == 1 else Context(self._whole.library.part(share), self._dialect)

    def _organization(self, request: Request) -> Reply:
        key = self._key(request)
        if not self._dialect.organizations:
            raise RefusedError(404, "No such path: /organizations")
        if not key.reads_organization:
            raise RefusedError(403, "This key may not read its organization")
        names = {"organization_id": key.organization, "organization_name": key.organization.title()}
        return json_reply({**names, "account_type": "free", "credit_count": 1_000, "metadata": {}, "users": []})
