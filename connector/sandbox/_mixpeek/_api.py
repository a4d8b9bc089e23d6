"""Mixpeek's assets and features API, generation 1, as one set of routes, with its error bodies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from vectorferry.connector.sandbox._http import Handler, RefusedError, Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._library import Keys, Library
from vectorferry.connector.sandbox._mixpeek._media import (
    AssetHandlers,
    CollectionHandlers,
    FeatureHandlers,
    TaskHandlers,
)
from vectorferry.connector.sandbox._mixpeek._requests import Context
from vectorferry.connector.sandbox._mixpeek._search import SearchHandlers
from vectorferry.connector.sandbox._settings import MixpeekDialect

__all__ = ["MixpeekApi"]


_KINDS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    429: "TooManyRequests",
}


def error_body(refusal: RefusedError, style: str) -> Any:
    """What is sent for a refusal in one of the `STYLES`; a 422 is FastAPI's list of problems in all of them."""
    if refusal.status == 422:
        return {"detail": refusal.details}
    return STYLES[style](refusal)


def _kind(refusal: RefusedError) -> str:
    return refusal.kind or _KINDS.get(refusal.status, "InternalServerError")


def _envelope(refusal: RefusedError) -> Any:
    error = {"message": refusal.message, "type": f"{_kind(refusal)}Error", "details": refusal.details}
    return {"success": False, "status": refusal.status, "error": error}


def _detail(refusal: RefusedError) -> Any:
    return {"detail": [{"msg": refusal.message}]}


def _flat(refusal: RefusedError) -> Any:
    return {"error": _kind(refusal), "message": refusal.message, "details": refusal.details or {}}


STYLES: dict[str, Callable[[RefusedError], Any]] = {"envelope": _envelope, "detail": _detail, "flat": _flat}


# Mixpeek's assets and features API, generation 1, as one set of routes.


_PREFIXES = {"both": ("", "/v1"), "none": ("",), "v1": ("/v1",)}


_OPEN = "/healthcheck"


class MixpeekApi:
    """Serves a library of media the way Mixpeek did between November 2024 and early 2025."""

    def __init__(self, library: Library, dialect: MixpeekDialect, keys: Keys) -> None:
        self._library = library
        self._dialect = dialect
        self._keys = keys
        self._namespaces = {spelling: name for name in dialect.namespaces for spelling in (name, f"ns_{name}")}
        whole = _routes_of(Context(library, dialect))
        self._routes = [replace(route, handler=self._scoped(place, route.handler)) for place, route in enumerate(whole)]
        self._routes.append(Route("organizations.get", "GET", "/organizations", self._organization))

    @property
    def routes(self) -> Sequence[Route]:
        """Every route under every prefix of the dialect; the health check has none."""
        health = Route("healthcheck", "GET", _OPEN, lambda _request: json_reply({"status": "healthy"}))
        prefixes = _PREFIXES[self._dialect.prefixes]
        return [health, *(_under(prefix, route) for prefix in prefixes for route in self._routes)]

    def authorize(self, request: Request) -> None:
        """The key, then the namespace if one is named."""
        if request.path == _OPEN:
            return
        self._keys.bearer(request.headers.get("Authorization"))
        namespace = request.headers.get("X-Namespace")
        if namespace is not None and namespace not in self._namespaces:
            raise RefusedError(404, f"Namespace {namespace!r} not found")

    def _scoped(self, place: int, whole: Handler) -> Handler:
        """The handler of the whole library, or the same one over what the request's key sees in its namespace."""

        def answer(request: Request, /) -> Reply:
            share = self._share(request)
            if share == 1:
                return whole(request)
            return _routes_of(Context(self._library.part(share), self._dialect))[place].handler(request)

        return answer

    def _share(self, request: Request) -> float:
        named = request.headers.get("X-Namespace", self._dialect.namespaces[0])
        key = self._keys.bearer(request.headers.get("Authorization"))
        return key.share * self._dialect.namespace_shares.get(self._namespaces[named], 1)

    def _organization(self, request: Request) -> Reply:
        """Whose key it is."""
        key = self._keys.bearer(request.headers.get("Authorization"))
        if not self._dialect.organizations:
            raise RefusedError(404, "No such path: /organizations")
        if not key.reads_organization:
            raise RefusedError(403, "This key may not read its organization")
        named = {"organization_id": key.organization, "organization_name": key.organization.title()}
        return json_reply({**named, "account_type": "free", "credit_count": 1_000, "metadata": {}, "users": []})

    def refuse(self, refusal: RefusedError, style: str | None = None) -> Reply:
        """The refusal in the dialect's error style, or in another one."""
        return json_reply(error_body(refusal, style or self._dialect.errors), refusal.status)


def _routes_of(context: Context) -> list[Route]:
    kinds = (AssetHandlers, CollectionHandlers, FeatureHandlers, SearchHandlers, TaskHandlers)
    return [route for kind in kinds for route in kind(context).routes()]


def _under(prefix: str, route: Route) -> Route:
    return replace(route, path=f"{prefix}{route.path}", prefix=prefix)
