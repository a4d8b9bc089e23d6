"""Assets, and the features of one asset."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from vectorferry.connector.sandbox._edits import add_metadata, bump
from vectorferry.connector.sandbox._http import Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._library import StoredAsset, StoredFeature
from vectorferry.connector.sandbox._mixpeek._bodies import AssetList, MetadataUpdate, parse_body
from vectorferry.connector.sandbox._mixpeek._context import Context
from vectorferry.connector.sandbox._mixpeek._filters import matches, select, sort_rows
from vectorferry.connector.sandbox._mixpeek._paging import Page, page_url, query_flag

__all__ = ["AssetHandlers"]

MODALITIES = ("video", "image", "text", "audio")


class AssetHandlers:
    """``/assets``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """Every route under ``/assets``."""
        return [
            Route("assets.list", "POST", "/assets", self.page),
            Route("assets.get", "GET", "/assets/{asset_id}", self.get),
            Route("assets.update", "PUT", "/assets/{asset_id}", self.update),
            Route("assets.update", "PATCH", "/assets/{asset_id}", self.update),
            Route("assets.delete", "DELETE", "/assets/{asset_id}", self.delete),
            Route("assets.features", "GET", "/assets/{asset_id}/features", self.features),
        ]

    def page(self, request: Request) -> Reply:
        """One page of the assets of some collections."""
        context = self._context
        body = parse_body(AssetList, request.body, context.dialect)
        page = Page.asked(request, context.dialect.page_size_cap)
        assets = self._chosen(body)
        shown = (
            select(context.show_asset(asset, signed=bool(body.return_url)), body.select)
            for asset in page.rows(assets, request.shifted_rows)
        )
        pagination = page.pagination(len(assets), page_url(request, "/assets"))
        return json_reply({"results": list(shown), "pagination": pagination})

    def get(self, request: Request) -> Reply:
        """One asset without its features."""
        asset = self._context.asset(request.params[0])
        return json_reply(self._context.show_asset(asset, signed=query_flag(request, "return_url", True)))

    def update(self, request: Request) -> Reply:
        """New values for an asset's metadata; on PATCH the other values stay."""
        body = parse_body(MetadataUpdate, request.body, self._context.dialect)
        asset = self._context.asset(request.params[0])
        if request.method == "PUT":
            asset.fields["metadata"] = {}
        add_metadata(asset.fields, body.metadata)
        for feature in asset.features.values() if body.propagate_features else ():
            add_metadata(feature.fields, body.metadata)
        bump(asset)
        return json_reply(self._context.show_asset(asset))

    def delete(self, request: Request) -> Reply:
        """Delete an asset with its features."""
        self._context.library.remove(self._context.asset(request.params[0]).asset_id)
        return json_reply(None)

    def features(self, request: Request) -> Reply:
        """An asset with its features: all of them by modality, or a page of a video's segments."""
        asset = self._context.asset(request.params[0])
        shown = self._context.show_asset(asset, signed=query_flag(request, "return_url"))
        if self._context.dialect.features_reply == "video_segments" and asset.fields.get("modality") == "video":
            return json_reply({"asset": shown, **self._segments(asset, request)})
        return json_reply({"asset": shown, "features": self._by_modality(asset, request)})

    def _chosen(self, body: AssetList) -> Collection[StoredAsset]:
        collections = self._context.library.named(body.names())
        if len(collections) == 1 and not body.filters and not body.sort:
            return collections[0].assets.values()
        every = (asset for collection in collections for asset in collection.assets.values())
        return sort_rows((asset for asset in every if matches(asset.fields, body.filters)), body.sort, _fields)

    def _by_modality(self, asset: StoredAsset, request: Request) -> dict[str, Any]:
        signed = query_flag(request, "return_url")
        lists: dict[str, list[Any]] = {modality: [] for modality in MODALITIES}
        for feature in asset.features.values():
            modality = str(feature.fields.get("modality") or asset.fields.get("modality"))
            lists.setdefault(modality, []).append(self._context.show_feature(feature, signed=signed))
        return {name: rows or (None if self._context.dialect.null_for_empty else []) for name, rows in lists.items()}

    def _segments(self, asset: StoredAsset, request: Request) -> dict[str, Any]:
        page = Page.asked(request, self._context.dialect.page_size_cap)
        segments = [self._segment(one) for one in page.rows(asset.features.values(), request.shifted_rows)]
        # The documented next_page of this reply lacks /features, so whoever follows it gets something else.
        link = page_url(request, f"/assets/{asset.asset_id}")
        return {"video_segments": segments, "pagination": page.pagination(len(asset.features), link)}

    def _segment(self, feature: StoredFeature) -> dict[str, Any]:
        shown = dict(self._context.show_feature(feature))
        if not self._context.dialect.segment_ids:
            shown.pop("feature_id", None)
        return shown


def _fields(asset: StoredAsset) -> dict[str, Any]:
    return asset.fields
