"""Mixpeek's assets and features API, generation 1, as one set of routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from connector.sandbox._http import RefusedError, Reply, Request, Route, json_reply
from connector.sandbox._library import Library
from connector.sandbox._mixpeek._assets import AssetHandlers
from connector.sandbox._mixpeek._collections import CollectionHandlers
from connector.sandbox._mixpeek._context import Context
from connector.sandbox._mixpeek._errors import error_body
from connector.sandbox._mixpeek._features import FeatureHandlers
from connector.sandbox._mixpeek._search import SearchHandlers
from connector.sandbox._mixpeek._tasks import TaskHandlers
from connector.sandbox._settings import MixpeekDialect

__all__ = ["MixpeekApi"]

_PREFIXES = {"both": ("", "/v1"), "none": ("",), "v1": ("/v1",)}
_OPEN = "/healthcheck"


class MixpeekApi:
    """Serves a library of media the way Mixpeek did between November 2024 and early 2025."""

    def __init__(self, library: Library, dialect: MixpeekDialect, api_key: str) -> None:
        self._dialect = dialect
        self._bearer = f"Bearer {api_key}"
        self._namespaces = {*dialect.namespaces, *(f"ns_{name}" for name in dialect.namespaces)}
        context = Context(library, dialect)
        kinds = (AssetHandlers, CollectionHandlers, FeatureHandlers, SearchHandlers, TaskHandlers)
        self._routes = [route for kind in kinds for route in kind(context).routes()]

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
        if request.headers.get("Authorization") != self._bearer:
            raise RefusedError(401, "Invalid API key")
        namespace = request.headers.get("X-Namespace")
        if namespace is not None and namespace not in self._namespaces:
            raise RefusedError(404, f"Namespace {namespace!r} not found")

    def refuse(self, refusal: RefusedError, style: str | None = None) -> Reply:
        """The refusal in the dialect's error style, or in another one."""
        return json_reply(error_body(refusal, style or self._dialect.errors), refusal.status)


def _under(prefix: str, route: Route) -> Route:
    return replace(route, path=f"{prefix}{route.path}", prefix=prefix)
