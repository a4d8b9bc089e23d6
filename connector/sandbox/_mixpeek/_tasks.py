"""Submitting media, and the tasks that come of it. Nothing is ever really processed."""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson

from vectorferry.connector.sandbox._edits import now_text
from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._library import StoredAsset
from vectorferry.connector.sandbox._mixpeek._context import Context
from vectorferry.connector.sandbox._mixpeek._paging import Page, page_url

__all__ = ["TaskHandlers"]

_UNFINISHED = {"PENDING", "QUEUED", "INITIALIZING", "DOWNLOADING", "UPLOADING", "PROCESSING"}
_SUBMISSIONS = {
    "/ingest/videos/url": "video",
    "/ingest/images/url": "image",
    "/ingest/text": "text",
    "/index/url": "video",
    "/index/videos/url": "video",
    "/index/images/url": "image",
    "/index/text": "text",
}


class TaskHandlers:
    """``/tasks``, ``/ingest`` and ``/index``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """Every route under ``/tasks``, ``/ingest`` and ``/index``."""
        return [
            Route("tasks.get", "GET", "/tasks/{task_id}", self.get),
            Route("tasks.list", "GET", "/tasks", self.page),
            *(Route("ingest", "POST", path, self.submit) for path in _SUBMISSIONS),
        ]

    def get(self, request: Request) -> Reply:
        """How far the task that made an asset is."""
        wanted = request.params[0]
        for asset in self._context.library.assets.values():
            if asset.fields.get("task_id") == wanted:
                return json_reply(_task(asset))
        raise RefusedError(404, f"Task {wanted!r} not found")

    def page(self, request: Request) -> Reply:
        """One page of the unfinished tasks."""
        assets = self._context.library.assets.values()
        unfinished = [asset for asset in assets if asset.fields.get("status") in _UNFINISHED]
        asked = Page.asked(request, self._context.dialect.page_size_cap)
        pagination = asked.pagination(len(unfinished), page_url(request, "/tasks"))
        return json_reply({"results": [_task(asset) for asset in asked.rows(unfinished)], "pagination": pagination})

    def submit(self, request: Request) -> Reply:
        """Add an asset that stays PROCESSING until somebody edits it."""
        body = _submitted(request)
        number = len(self._context.library.assets)
        asset_id = str(uuid5(NAMESPACE_URL, f"{number}/{body.get('url') or body.get('text')}"))
        collection = body.get("collection") or body.get("collection_id")
        if not isinstance(collection, str):
            problem = {"loc": ["body", "collection"], "msg": "Field required", "type": "missing"}
            raise RefusedError(422, "Field required", details=[problem])
        asset = StoredAsset(asset_id, collection, _fields(asset_id, collection, body, self._modality(request)))
        self._context.library.add(asset)
        if "/index/" in request.path:
            return json_reply({"message": "URL processing queued", "task_id": asset.fields["task_id"]})
        return json_reply(_task(asset))

    def _modality(self, request: Request) -> str:
        return _SUBMISSIONS[request.path.removeprefix(request.prefix)]


def _submitted(request: Request) -> dict[str, Any]:
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        body = None
    return body if isinstance(body, dict) else {}


def _fields(asset_id: str, collection: str, body: dict[str, Any], modality: str) -> dict[str, Any]:
    return {
        "asset_id": asset_id,
        "collection_id": collection,
        "status": "PROCESSING",
        "url": body.get("url"),
        "metadata": body.get("metadata") or {},
        "error": None,
        "modality": modality,
        "task_id": str(uuid5(NAMESPACE_URL, f"task/{asset_id}")),
        "updated_at": now_text(),
        "created_at": now_text(),
        "score": None,
    }


def _task(asset: StoredAsset) -> dict[str, Any]:
    # The fields of both documented shapes: asset_id at the root, and inputs and outputs.
    return {
        "task_id": asset.fields.get("task_id"),
        "status": asset.fields.get("status"),
        "asset_id": asset.asset_id,
        "inputs": [{"url": asset.fields.get("url")}],
        "outputs": [{"asset_id": asset.asset_id}],
    }
