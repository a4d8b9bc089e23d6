"""TwelveLabs' API, version 1.3, as one set of routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vectorferry.connector.sandbox._http import Handler, RefusedError, Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._library import Keys
from vectorferry.connector.sandbox._settings import TwelveLabsDialect
from vectorferry.connector.sandbox._twelvelabs._account import Account
from vectorferry.connector.sandbox._twelvelabs._dialect import error_body
from vectorferry.connector.sandbox._twelvelabs._embed import EmbedTaskHandlers, EmbedV2Handlers
from vectorferry.connector.sandbox._twelvelabs._entities import EntityHandlers
from vectorferry.connector.sandbox._twelvelabs._indexes import (
    IndexedAssetHandlers,
    IndexHandlers,
    SubmittingHandlers,
    TaskHandlers,
    VideoHandlers,
    print_embedding,
)
from vectorferry.connector.sandbox._twelvelabs._requests import Context, LimitedError, Quota
from vectorferry.connector.sandbox._twelvelabs._search import SearchHandlers
from vectorferry.connector.sandbox._twelvelabs._uploads import UploadHandlers

__all__ = ["PREFIX", "TwelveLabsApi"]

PREFIX = "/v1.3"

_VERSION = {"X-Api-Version": "1.3"}

_KINDS = (
    IndexHandlers,
    IndexedAssetHandlers,
    SubmittingHandlers,
    VideoHandlers,
    TaskHandlers,
    UploadHandlers,
    EmbedTaskHandlers,
    EmbedV2Handlers,
    EntityHandlers,
    SearchHandlers,
)


class TwelveLabsApi:
    """Serves an account the way TwelveLabs does in 2026."""

    def __init__(self, account: Account, dialect: TwelveLabsDialect, keys: Keys) -> None:
        self._keys = keys
        self._dialect = dialect
        self._quota = Quota(dialect)
        self._context = Context(account, dialect)
        whole = _routes_of(self._context)
        self._routes = [replace(route, handler=self._scoped(place, route.handler)) for place, route in enumerate(whole)]

    @property
    def routes(self) -> Sequence[Route]:
        """Every route."""
        return [
            replace(route, path=f"{PREFIX}{route.path}", prefix=PREFIX, handler=self._headed(route.handler))
            for route in self._routes
        ]

    def print_all(self) -> None:
        """Print every vector now; what the vectors need beyond the room that is kept for them is printed in vain."""
        for asset in self._context.account.indexed_assets.values():
            options = {segment.option for segment in asset.segments}
            print_embedding(self._context, self._context.index(asset.index_id), asset, options)

    def authorize(self, request: Request) -> None:
        """The key, then the limits."""
        if self._keys.get(request.headers.get("x-api-key")) is None:
            raise RefusedError(401, "The API key is invalid or has expired.", kind="api_key_invalid")
        self._quota.take()

    def refuse(self, refusal: RefusedError, style: str | None = None) -> Reply:
        """The refusal as a flat body, or as the envelope of embed-v2."""
        if isinstance(refusal, LimitedError) and self._dialect.rate_body != "json":
            text = refusal.message.encode() if self._dialect.rate_body == "text" else b""
            reply = Reply(text, refusal.status, content_type="text/plain")
        else:
            reply = json_reply(error_body(refusal, style or "flat"), refusal.status)
        reply.headers = {**_VERSION, **(refusal.headers if isinstance(refusal, LimitedError) else {})}
        return reply

    def _scoped(self, place: int, whole: Handler) -> Handler:
        """The handler of the whole account, or the same one over what the request's key sees."""

        def answer(request: Request, /) -> Reply:
            key = self._keys.get(request.headers.get("x-api-key"))
            if key is None or key.share == 1:
                return whole(request)
            context = replace(self._context, account=self._context.account.part(key.share))
            return _routes_of(context)[place].handler(request)

        return answer

    def _headed(self, handler: Handler) -> Handler:
        def answer(request: Request, /) -> Reply:
            reply = handler(request)
            reply.headers = {**_VERSION, **self._quota.headers(), **reply.headers}
            return reply

        return answer


def _routes_of(context: Context) -> list[Route]:
    return [route for kind in _KINDS for route in kind(context).routes()]
