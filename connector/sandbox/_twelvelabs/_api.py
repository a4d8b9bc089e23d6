"""TwelveLabs' API, version 1.3, as one set of routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from connector.sandbox._http import RefusedError, Reply, Request, Route, json_reply
from connector.sandbox._settings import TwelveLabsDialect
from connector.sandbox._twelvelabs._account import Account
from connector.sandbox._twelvelabs._context import Context
from connector.sandbox._twelvelabs._errors import error_body
from connector.sandbox._twelvelabs._indexed_assets import IndexedAssetHandlers
from connector.sandbox._twelvelabs._indexes import IndexHandlers
from connector.sandbox._twelvelabs._showing import print_embedding
from connector.sandbox._twelvelabs._submitting import SubmittingHandlers
from connector.sandbox._twelvelabs._tasks import TaskHandlers
from connector.sandbox._twelvelabs._uploads import UploadHandlers
from connector.sandbox._twelvelabs._videos import VideoHandlers

__all__ = ["PREFIX", "TwelveLabsApi"]

PREFIX = "/v1.3"

_KINDS = (
    IndexHandlers,
    IndexedAssetHandlers,
    SubmittingHandlers,
    VideoHandlers,
    TaskHandlers,
    UploadHandlers,
)


class TwelveLabsApi:
    """Serves an account the way TwelveLabs does in 2026."""

    def __init__(self, account: Account, dialect: TwelveLabsDialect, api_key: str) -> None:
        self._api_key = api_key
        context = Context(account, dialect)
        self._context = context
        self._routes = [route for kind in _KINDS for route in kind(context).routes()]

    @property
    def routes(self) -> Sequence[Route]:
        """Every route."""
        return [replace(route, path=f"{PREFIX}{route.path}", prefix=PREFIX) for route in self._routes]

    def print_all(self) -> None:
        """Print every vector now; what the vectors need beyond the room that is kept for them is printed in vain."""
        for asset in self._context.account.indexed_assets.values():
            options = {segment.option for segment in asset.segments}
            print_embedding(self._context, self._context.index(asset.index_id), asset, options)

    def authorize(self, request: Request) -> None:
        """The key."""
        if request.headers.get("x-api-key") != self._api_key:
            raise RefusedError(401, "The API key is invalid or has expired.", kind="api_key_invalid")

    def refuse(self, refusal: RefusedError, _style: str | None = None) -> Reply:
        """The refusal as a flat body."""
        return json_reply(error_body(refusal), refusal.status)
