"""``/indexes/{index_id}/videos``: the same things under their old name, without a status."""

from __future__ import annotations

from typing import Any

from vectorferry.connector.sandbox._http import Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._twelvelabs._context import Context
from vectorferry.connector.sandbox._twelvelabs._indexed_assets import chosen
from vectorferry.connector.sandbox._twelvelabs._paging import listed
from vectorferry.connector.sandbox._twelvelabs._showing import show_asset, show_row
from vectorferry.connector.sandbox._twelvelabs._things import IndexedAsset

__all__ = ["VideoHandlers"]

_PATH = "/indexes/{index_id}/videos"


class VideoHandlers:
    """Legacy videos."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """Both routes."""
        return [
            Route("twelvelabs.videos.list", "GET", _PATH, self.page),
            Route("twelvelabs.videos.get", "GET", f"{_PATH}/{{video_id}}", self.get),
        ]

    def page(self, request: Request) -> Reply:
        """One page of an index."""
        rows = chosen(self._context, request, self._context.index(request.params[0]).assets.values())
        rows = [row for row in rows if self._shows(row)]
        return listed(request, self._context.dialect, rows, lambda row: _nameless(show_row(self._context, row)))

    def get(self, request: Request) -> Reply:
        """One video, with the vectors that are asked for."""
        index = self._context.index(request.params[0])
        video = index.assets.get(request.params[1])
        shown = video if video is not None and self._shows(video) else None
        found = self._context.found(shown, "videos", request.params[1])
        return json_reply(_nameless(show_asset(self._context, index, found, request)))

    def _shows(self, video: IndexedAsset) -> bool:
        return self._context.dialect.videos == "every" or video.status == "ready"


def _nameless(shown: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in shown.items() if name not in {"status", "asset_id"}}
