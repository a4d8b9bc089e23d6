"""``/_sandbox``: counters, faults and Pinecone's contents over HTTP, for whoever is not in the same process."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from secrets import compare_digest
from typing import Final

from pydantic import TypeAdapter, ValidationError

from vectorferry.connector.sandbox._faults import Fault, Faults
from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._pinecone._store import PineconeInspector
from vectorferry.connector.sandbox._server import RequestLog

__all__ = ["ControlApi"]


CONTROL_KEY_HEADER: Final = "X-Sandbox-Key"
_RULES: TypeAdapter[list[Fault]] = TypeAdapter(list[Fault])


class ControlApi:
    """The sandbox's own endpoints. They are not counted and know no faults.

    Only a client on this machine may use them, with `key` in the header `X-Sandbox-Key`, and with bodies that say that
    they are JSON: a page that a browser on this machine has open can send neither without being allowed to.
    """

    def __init__(self, key: str, requests: RequestLog, faults: Faults, pinecone: PineconeInspector) -> None:
        self._key = key
        self._requests = requests
        self._faults = faults
        self._pinecone = pinecone

    @property
    def routes(self) -> Sequence[Route]:
        """Every control endpoint."""
        return [
            Route("control", "GET", "/_sandbox/requests", self._counts),
            Route("control", "POST", "/_sandbox/requests/reset", self._reset),
            Route("control", "GET", "/_sandbox/faults", self._hits),
            Route("control", "POST", "/_sandbox/faults", self._add),
            Route("control", "DELETE", "/_sandbox/faults", self._clear),
            Route("control", "GET", "/_sandbox/pinecone", self._records),
        ]

    def authorize(self, request: Request) -> None:
        """Raises `RefusedError` for whoever is not on this machine, another key, and a body that is not JSON."""
        if not ip_address(request.peer).is_loopback:
            raise RefusedError(403, "Only a client on this machine may use /_sandbox")
        given = request.headers.get(CONTROL_KEY_HEADER, "").encode("utf-8", "surrogateescape")
        if not compare_digest(given, self._key.encode()):
            raise RefusedError(401, f"Send the key that the sandbox printed when it started as {CONTROL_KEY_HEADER}")
        content_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if request.body and content_type != "application/json":
            raise RefusedError(415, "Send bodies with Content-Type: application/json")

    def refuse(self, refusal: RefusedError) -> Reply:
        """A plain message."""
        return json_reply({"error": refusal.message, "details": refusal.details}, refusal.status)

    def _counts(self, _request: Request) -> Reply:
        return json_reply(self._requests.counts())

    def _reset(self, _request: Request) -> Reply:
        self._requests.reset()
        return json_reply({})

    def _hits(self, _request: Request) -> Reply:
        return json_reply({"hits": self._faults.hits()})

    def _add(self, request: Request) -> Reply:
        try:
            self._faults.add(*_RULES.validate_json(request.body))
        except ValidationError as error:
            problems = [{"loc": one["loc"], "msg": one["msg"]} for one in error.errors()]
            raise RefusedError(422, "Not a list of fault rules", details=problems) from None
        return json_reply({})

    def _clear(self, _request: Request) -> Reply:
        self._faults.clear()
        return json_reply({})

    def _records(self, _request: Request) -> Reply:
        """How many records each namespace of each index has, and their digest."""
        return json_reply({index: self._pinecone.digests(index) for index in self._pinecone.indexes()})
