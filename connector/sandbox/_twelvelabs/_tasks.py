"""``/tasks``: how each indexed asset came into its index."""

from __future__ import annotations

from typing import Any

from vectorferry.connector.sandbox._http import Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._twelvelabs._context import Context
from vectorferry.connector.sandbox._twelvelabs._paging import by_either_time, listed
from vectorferry.connector.sandbox._twelvelabs._query import on_or_after, values, within
from vectorferry.connector.sandbox._twelvelabs._things import IndexedAsset, object_id

__all__ = ["TaskHandlers"]

_SHOWN = ("duration", "filename", "height", "width")


class TaskHandlers:
    """Legacy indexing tasks."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """Both routes."""
        return [
            Route("twelvelabs.tasks.list", "GET", "/tasks", self.page),
            Route("twelvelabs.tasks.get", "GET", "/tasks/{task_id}", self.get),
        ]

    def page(self, request: Request) -> Reply:
        """One page of tasks."""
        assets = self._context.account.indexed_assets.values()
        rows = by_either_time(request, (one for one in assets if self._wanted(request, one)))
        return listed(request, self._context.dialect, rows, self._shown)

    def get(self, request: Request) -> Reply:
        """One task."""
        assets = self._context.account.indexed_assets.values()
        found = next((one for one in assets if _task_id(one) == request.params[0]), None)
        return json_reply(self._shown(self._context.found(found, "tasks", request.params[0], declared=400)))

    def _wanted(self, request: Request, asset: IndexedAsset) -> bool:
        rule = self._context.dialect.date_filter
        states, of_file = values(request, "status"), asset.system_metadata
        return (
            request.query.get("index_id", asset.index_id) == asset.index_id
            and (not states or asset.status in states)
            and request.query.get("filename", of_file.get("filename")) == of_file.get("filename")
            and all(within(request, name, of_file.get(name)) for name in ("duration", "width", "height"))
            and on_or_after(request, "created_at", asset.created_at, rule)
            and on_or_after(request, "updated_at", asset.updated_at, rule)
        )

    def _shown(self, asset: IndexedAsset) -> dict[str, Any]:
        context = self._context
        return {
            "_id": _task_id(asset),
            "video_id": asset.indexed_asset_id,
            "index_id": asset.index_id,
            "status": asset.status,
            "created_at": context.time(asset.created_at),
            "updated_at": context.time(asset.updated_at),
            context.dialect.system_metadata: {
                name: asset.system_metadata[name] for name in _SHOWN if name in asset.system_metadata
            },
        }


def _task_id(asset: IndexedAsset) -> str:
    return object_id("task", asset.indexed_asset_id)
