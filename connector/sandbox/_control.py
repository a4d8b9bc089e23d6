"""``/_sandbox``: counters, faults and edits over HTTP, for whoever is not in the same process."""

from __future__ import annotations

from collections.abc import Sequence

from connector.sandbox._faults import Faults
from connector.sandbox._http import RefusedError, Reply, Request, Route, json_reply
from connector.sandbox._request_log import RequestLog

__all__ = ["ControlApi"]


class ControlApi:
    """The sandbox's own endpoints. They need no key, are not counted and know no faults."""

    def __init__(self, requests: RequestLog, faults: Faults) -> None:
        self._requests = requests
        self._faults = faults

    @property
    def routes(self) -> Sequence[Route]:
        """Every control endpoint."""
        return [
            Route("control", "GET", "/_sandbox/requests", self._counts),
            Route("control", "POST", "/_sandbox/requests/reset", self._reset),
        ]

    def authorize(self, request: Request) -> None:
        """Anyone on loopback may."""

    def refuse(self, refusal: RefusedError, _style: str | None = None) -> Reply:
        """A plain message."""
        return json_reply({"error": refusal.message, "details": refusal.details}, refusal.status)

    def _counts(self, _request: Request) -> Reply:
        return json_reply(self._requests.counts())

    def _reset(self, _request: Request) -> Reply:
        self._requests.reset()
        return json_reply({})
