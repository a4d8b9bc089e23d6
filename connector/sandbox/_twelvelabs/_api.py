"""TwelveLabs' API, version 1.3, as one set of routes, with its limits and error bodies."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from vectorferry.connector.sandbox._http import Answer, RefusedError, Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._settings import Keys, TwelveLabsDialect
from vectorferry.connector.sandbox._twelvelabs._account import Account
from vectorferry.connector.sandbox._twelvelabs._embed import embedding
from vectorferry.connector.sandbox._twelvelabs._indexes import indexed_assets, indexes, print_embedding
from vectorferry.connector.sandbox._twelvelabs._requests import Context
from vectorferry.connector.sandbox._twelvelabs._search import entities, search
from vectorferry.connector.sandbox._twelvelabs._uploads import uploads

PREFIX: Final = "/v1.3"
_VERSION = {"X-Api-Version": "1.3"}
_CODES = {
    400: "parameter_invalid",
    401: "api_key_invalid",
    403: "read_not_allowed",
    404: "resource_not_exist",
    405: "method_not_allowed",
    429: "too_many_requests",
}


class TwelveLabsApi:
    """Serves an account the way TwelveLabs does in 2026."""

    def __init__(self, account: Account, dialect: TwelveLabsDialect, keys: Keys) -> None:
        self._whole = Context(account, dialect)
        self._dialect = dialect
        self._keys = keys
        self._quota = Quota(dialect)

    @property
    def routes(self) -> Sequence[Route]:
        """Every route; those of indexed assets only where the account knows more than the legacy videos."""
        modern = (indexed_assets,) if self._dialect.indexed_assets else ()
        kinds = (indexes, *modern, uploads, embedding, entities, search)
        routes = (route for kind in kinds for route in kind.routes(self._context, PREFIX))
        return [replace(route, answer=self._headed(route.answer)) for route in routes]

    def print_all(self) -> None:
        """Print every vector now; what the vectors need beyond the room that is kept for them is printed in vain."""
        for asset in self._whole.account.indexed_assets.values():
            print_embedding(self._whole, asset, {segment.option for segment in asset.segments})

    def authorize(self, request: Request) -> None:
        """The key, then the limit."""
        if self._keys.get(request.headers.get("x-api-key")) is None:
            raise RefusedError(401, "The API key is invalid or has expired.", kind="api_key_invalid")
        self._quota.take()

    def refuse(self, refusal: RefusedError) -> Reply:
        """The flat body that most endpoints answer with, or the envelope of embed-v2, whose codes are in capitals."""
        if refusal.status == 429 and self._dialect.rate_body != "json":
            text = refusal.message.encode() if self._dialect.rate_body == "text" else b""
            reply = Reply(text, refusal.status, content_type="text/plain")
        else:
            reply = json_reply(_error_body(refusal), refusal.status)
        reply.headers = {**_VERSION, **refusal.headers}
        return reply

    def _context(self, request: Request) -> Context:
        """What the request's key sees."""
        key = self._keys.get(request.headers.get("x-api-key"))
        if key is None or key.share == 1:
            return self._whole
        return replace(self._whole, account=self._whole.account.part(key.share))

    def _headed(self, answer: Answer) -> Answer:
        def headed(request: Request) -> Reply:
            reply = answer(request)
            reply.headers = {**_VERSION, **self._quota.headers(), **reply.headers}
            return reply

        return headed


def _error_body(refusal: RefusedError) -> dict[str, Any]:
    code = refusal.kind or _CODES.get(refusal.status, "internal_server_error")
    if code.isupper():
        return {"error": {"code": code, "message": refusal.message, "details": refusal.details or {}}}
    return {"code": code, "message": refusal.message}


class Quota:
    """How many requests an organisation has left until its day, which begins with its first request, ends."""

    def __init__(self, dialect: TwelveLabsDialect) -> None:
        self._limit = dialect.requests_per_day
        self._shown = dialect.rate_headers
        self._used = 0
        self._ends = 0.0

    def take(self) -> None:
        """Count one request; raises a 429 for one too many."""
        if self._limit is None:
            return
        now = time.time()
        if now >= self._ends:
            self._used, self._ends = 0, now + 86_400
        if self._used == self._limit:
            until = f"{datetime.fromtimestamp(self._ends, UTC):%Y-%m-%dT%H:%M:%SZ}"
            message = f"You have exceeded the rate limit ({self._limit}req/1day). Please try again later after {until}."
            raise RefusedError(429, message, kind="too_many_requests", headers=self.headers())
        self._used += 1

    def headers(self) -> Mapping[str, str]:
        """The state of the limit, where there is one that is told."""
        if self._limit is None or not self._shown:
            return {}
        return {
            "X-Ratelimit-Limit": str(self._limit),
            "X-Ratelimit-Remaining": str(self._limit - self._used),
            "X-Ratelimit-Used": str(self._used),
            "X-Ratelimit-Reset": str(int(self._ends)),
        }
