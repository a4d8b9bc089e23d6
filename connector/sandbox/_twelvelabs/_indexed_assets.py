"""``/indexes/{index_id}/indexed-assets``, and an upload's places in indexes."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import parse_qsl

import orjson

from vectorferry.connector.sandbox._http import Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._twelvelabs._context import Context
from vectorferry.connector.sandbox._twelvelabs._paging import by_either_time, listed
from vectorferry.connector.sandbox._twelvelabs._query import on_or_after, values, within
from vectorferry.connector.sandbox._twelvelabs._showing import show_asset, show_row
from vectorferry.connector.sandbox._twelvelabs._states import looked_at
from vectorferry.connector.sandbox._twelvelabs._things import IndexedAsset

__all__ = ["IndexedAssetHandlers", "chosen"]

_PATH = "/indexes/{index_id}/indexed-assets"
_NUMBERS = ("duration", "fps", "width", "height", "size")
_KNOWN = {"page", "page_limit", "sort_by", "sort_option", "status", "filename", "created_at", "updated_at"}


class IndexedAssetHandlers:
    """Uploads in an index."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """None, for an account that knows only the legacy videos."""
        if not self._context.dialect.indexed_assets:
            return []
        return [
            Route("twelvelabs.indexed_assets.list", "GET", _PATH, self.page),
            Route("twelvelabs.indexed_assets.get", "GET", f"{_PATH}/{{indexed_asset_id}}", self.get),
            Route("twelvelabs.assets.indexed", "GET", "/assets/{asset_id}/indexed-assets", self.by_upload),
        ]

    def page(self, request: Request) -> Reply:
        """One page of an index."""
        index = self._context.index(request.params[0])
        rows = chosen(self._context, request, index.assets.values())
        wanted = set(values(request, "status"))
        rows = [row for row in rows if not wanted or row.status in wanted]
        return listed(request, self._context.dialect, rows, lambda row: show_row(self._context, row))

    def get(self, request: Request) -> Reply:
        """One indexed asset with the vectors that are asked for; a submitted one moves on after each look."""
        index_id, indexed_asset_id = request.params
        asset = self._context.indexed_asset(index_id, indexed_asset_id)
        reply = json_reply(show_asset(self._context, self._context.index(index_id), asset, request))
        looked_at(asset)
        return reply

    def by_upload(self, request: Request) -> Reply:
        """Where an upload is indexed."""
        upload = self._context.upload(request.params[0])
        names = self._context.account.indexes
        return listed(
            request,
            self._context.dialect,
            self._context.account.of_upload(upload.asset_id),
            lambda row: {"_id": row.indexed_asset_id, "index": {"_id": row.index_id, "name": names[row.index_id].name}},
        )


def chosen(context: Context, request: Request, assets: Collection[IndexedAsset]) -> list[IndexedAsset]:
    """Those that every filter but `status` lets through, in the order that is asked for."""
    metadata = _metadata(request)
    rows = assets if not request.raw_query else [one for one in assets if _wanted(context, request, one, metadata)]
    return by_either_time(request, rows)


def _wanted(context: Context, request: Request, asset: IndexedAsset, metadata: dict[str, str]) -> bool:
    dialect = context.dialect
    of_file = asset.system_metadata
    updated = asset.updated_at if dialect.updated_at_filter == "every" or asset.edited else None
    return (
        request.query.get("filename", of_file.get("filename")) == of_file.get("filename")
        and all(within(request, name, of_file.get(name)) for name in _NUMBERS)
        and all(_plain(asset.user_metadata.get(name)) == value for name, value in metadata.items())
        and on_or_after(request, "created_at", asset.created_at, dialect.date_filter)
        and on_or_after(request, "updated_at", updated, dialect.date_filter)
    )


def _plain(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _metadata(request: Request) -> dict[str, str]:
    """The user's own fields, which are asked for as ``user_metadata[name]`` or under their plain names."""
    found = {}
    for name, value in parse_qsl(request.raw_query):
        plain = name.removeprefix("user_metadata[").removesuffix("]") if name.startswith("user_metadata[") else name
        if plain != name or (name not in _KNOWN and name.split("[")[0] not in _NUMBERS):
            found[plain] = value
    return found
