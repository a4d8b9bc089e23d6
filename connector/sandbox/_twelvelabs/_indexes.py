"""``/indexes``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from vectorferry.connector.sandbox._http import Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._twelvelabs._context import Context
from vectorferry.connector.sandbox._twelvelabs._paging import by_either_time, listed
from vectorferry.connector.sandbox._twelvelabs._query import on_or_after, values
from vectorferry.connector.sandbox._twelvelabs._things import Index

__all__ = ["IndexHandlers"]


class IndexHandlers:
    """What indexes there are, with their models and how much they hold."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """Both routes."""
        return [
            Route("twelvelabs.indexes.list", "GET", "/indexes", self.page),
            Route("twelvelabs.indexes.get", "GET", "/indexes/{index_id}", self.get),
        ]

    def page(self, request: Request) -> Reply:
        """One page of indexes."""
        context = self._context
        chosen = (index for index in context.account.indexes.values() if self._wanted(request, index))
        rows = by_either_time(request, chosen)
        return listed(request, context.dialect, rows, self._shown)

    def get(self, request: Request) -> Reply:
        """One index."""
        return json_reply(self._shown(self._context.index(request.params[0])))

    def _wanted(self, request: Request, index: Index) -> bool:
        rule = self._context.dialect.date_filter
        family = request.query.get("model_family", "")
        return (
            request.query.get("index_name", index.name) == index.name
            and set(values(request, "model_options")) <= set(index.options)
            and index.model_name.startswith(family)
            and on_or_after(request, "created_at", index.created_at, rule)
            and on_or_after(request, "updated_at", index.updated_at, rule)
        )

    def _shown(self, index: Index) -> dict[str, Any]:
        context = self._context
        ends = context.time(index.created_at + timedelta(days=90)) if context.dialect.expires_at else None
        seconds = sum(one.system_metadata.get("duration", 0) for one in index.assets.values())
        return {
            "_id": index.index_id,
            "index_name": index.name,
            "created_at": context.time(index.created_at),
            "updated_at": context.time(index.updated_at),
            "expires_at": ends,
            "video_count": len(index.assets),
            "total_duration": round(seconds, 6),
            "models": [{"model_name": index.model_name, "model_options": list(index.options), "addons": ["thumbnail"]}],
            "addons": ["thumbnail"],
        }
