"""Finds the route of a request."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from urllib.parse import unquote

from vectorferry.connector.sandbox._http import Api, Route

__all__ = ["Match", "Router"]

Match = tuple[Api, Route, tuple[str, ...]]


class Router:
    """Routes of several APIs on one address. A literal segment wins over a `{}` one, then the earlier route."""

    def __init__(self, apis: Sequence[Api]) -> None:
        self._first = apis[0]
        self._routes: defaultdict[int, list[tuple[Api, Route, list[str]]]] = defaultdict(list)
        for api in apis:
            for route in api.routes:
                segments = route.path.split("/")
                self._routes[len(segments)].append((api, route, segments))
        for routes in self._routes.values():
            routes.sort(key=lambda entry: sum(segment.startswith("{") for segment in entry[2]))

    def find(self, method: str, raw_path: str) -> Match | None:
        """The route and the decoded `{}` parts of a percent-encoded path."""
        segments = raw_path.split("/")
        for api, route, pattern in self._routes[len(segments)]:
            if route.method == method:
                params = _params(pattern, segments)
                if params is not None:
                    return api, route, params
        return None

    def nearest(self, raw_path: str) -> Api:
        """In whose words a path that nobody serves is refused."""
        roots = ((route.prefix, api) for routes in self._routes.values() for api, route, _ in routes if route.prefix)
        return next((api for root, api in roots if raw_path.startswith(f"{root}/")), self._first)

    def methods(self, raw_path: str) -> frozenset[str]:
        """The methods that some route answers on this path."""
        segments = raw_path.split("/")
        candidates = self._routes[len(segments)]
        return frozenset(route.method for _, route, pattern in candidates if _params(pattern, segments) is not None)


def _params(pattern: list[str], segments: list[str]) -> tuple[str, ...] | None:
    found = []
    for expected, given in zip(pattern, segments, strict=True):
        if expected.startswith("{"):
            found.append(unquote(given))
        elif expected != given:
            return None
    return tuple(found)
