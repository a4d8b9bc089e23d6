"""Namespaces, collections, assets and features."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import islice
from typing import Any

from vectorferry.connector.sandbox._http import Handlers, Page, Reply, Request, json_reply
from vectorferry.connector.sandbox._mixpeek._library import StoredAsset, StoredCollection, StoredFeature
from vectorferry.connector.sandbox._mixpeek._requests import (
    Context,
    InCollections,
    field_at,
    matches,
    page_of,
    pagination,
    parse_body,
    query_flag,
    require,
    select,
    sort_rows,
)
from vectorferry.connector.sandbox._vectors import MODELS, VectorSource

media: Handlers[Context] = Handlers()
_EPOCH = "2024-11-06T00:00:00.000000Z"
_MODALITIES = ("video", "image", "text", "audio")


class AssetList(InCollections):
    """``POST /assets``."""

    group_by: dict[str, Any] | None = None
    return_url: bool | None = False


class FeatureList(InCollections):
    """``POST /features``."""

    return_urls: bool = False


@media("namespaces.list", "GET", "/namespaces")
def _namespaces(context: Context, _request: Request) -> Reply:
    # Every namespace, as a bare list.
    models = list(_models(context))
    return json_reply(
        [
            {"namespace_id": f"ns_{name}", "namespace_name": name, "embedding_models": models, "payload_indexes": []}
            for name in context.dialect.namespaces
        ]
    )


@media("namespaces.models", "GET", "/namespaces/indexes", "/namespaces/models")
def _namespace_models(context: Context, _request: Request) -> Reply:
    return json_reply({"embedding_models": _models(context), "payload_indexes": [{"type": "keyword"}]})


def _models(context: Context) -> dict[str, Any]:
    models: dict[str, dict[str, Any]] = {}
    for feature in context.library.walk(context.library.collections.values()):
        for name, source in feature.vectors.items():
            model = models.get(name) or models.setdefault(name, _model(name, source))
            modality = feature.fields.get("modality")
            if modality not in model["supported_modalities"]:
                model["supported_modalities"].append(modality)
    return dict(sorted(models.items()))


def _model(name: str, source: VectorSource) -> dict[str, Any]:
    vector = source.dense()
    size = MODELS.get(name) if vector is None else len(vector)
    return {"supported_modalities": [], "vector_type": "dense" if size else "sparse", "size": size}


@media("collections.list", "GET", "/collections")
def _collections(context: Context, request: Request) -> Reply:
    collections, page = context.library.collections.values(), page_of(request, context.dialect)
    rows = [_collection_row(collection) for collection in page.rows(collections, request.shifted_rows)]
    return json_reply({"results": rows, "pagination": pagination(page, len(collections), request, "/collections")})


@media("collections.get", "GET", "/collections/{collection_id}")
def _collection(context: Context, request: Request) -> Reply:
    name = request.params[0]
    collection = require(next(iter(context.library.named([name])), None), "Collection", name)
    return json_reply({**_collection_row(collection), "namespace_id": f"ns_{context.dialect.namespaces[0]}"})


def _collection_row(collection: StoredCollection) -> dict[str, Any]:
    assets = collection.assets.values()
    return {
        "count": len(assets),
        "size_bytes": sum(field_at(asset.fields, "file_data.file_size_bytes") or 0 for asset in assets),
        "last_updated": max((str(asset.fields.get("updated_at")) for asset in assets), default=_EPOCH),
        "collection_id": collection.collection_id,
        "collection_name": collection.name,
        "preview_url": None,
        "metadata": {},
    }


@media("assets.list", "POST", "/assets")
def _assets(context: Context, request: Request) -> Reply:
    body = parse_body(AssetList, request.body, context.dialect)
    page, assets = page_of(request, context.dialect), _listed_assets(context, body)
    shown = (
        select(context.show_asset(asset, signed=bool(body.return_url)), body.select)
        for asset in page.rows(assets, request.shifted_rows)
    )
    return json_reply({"results": list(shown), "pagination": pagination(page, len(assets), request, "/assets")})


def _listed_assets(context: Context, body: AssetList) -> Collection[StoredAsset]:
    collections = context.library.named(body.names())
    if len(collections) == 1 and not body.filters and not body.sort:
        return collections[0].assets.values()
    every = (asset for collection in collections for asset in collection.assets.values())
    return sort_rows((asset for asset in every if matches(asset.fields, body.filters)), body.sort, _fields)


def _fields(stored: StoredAsset | StoredFeature) -> Mapping[str, Any]:
    return stored.fields


@media("assets.get", "GET", "/assets/{asset_id}")
def _asset(context: Context, request: Request) -> Reply:
    asset = context.asset(request.params[0])
    return json_reply(context.show_asset(asset, signed=query_flag(request, "return_url", True)))


@media("assets.features", "GET", "/assets/{asset_id}/features")
def _asset_features(context: Context, request: Request) -> Reply:
    # All features by modality, or a page of a video's segments.
    asset, signed = context.asset(request.params[0]), query_flag(request, "return_url")
    shown = {"asset": context.show_asset(asset, signed=signed)}
    if context.dialect.features_reply == "video_segments" and asset.fields.get("modality") == "video":
        page = page_of(request, context.dialect)
        rows = [context.show_feature(one) for one in page.rows(asset.features.values(), request.shifted_rows)]
        # The documented next_page of this reply lacks /features, so whoever follows it gets something else.
        pages = pagination(page, len(asset.features), request, f"/assets/{asset.asset_id}")
        return json_reply({**shown, "video_segments": rows, "pagination": pages})
    lists: dict[str, list[Any]] = {modality: [] for modality in _MODALITIES}
    for feature in asset.features.values():
        modality = str(feature.fields.get("modality") or asset.fields.get("modality"))
        lists.setdefault(modality, []).append(context.show_feature(feature, signed=signed))
    empty: list[Any] | None = None if context.dialect.null_for_empty else []
    return json_reply({**shown, "features": {name: rows or empty for name, rows in lists.items()}})


@media("features.get", "GET", "/features/{feature_id}")
def _feature(context: Context, request: Request) -> Reply:
    # With vectors when a flag that this dialect honours says so.
    feature, spoken = context.feature(request.params[0]), context.dialect.vector_flag
    flags = ("include_vectors", "return_vectors") if spoken == "both" else (spoken,)
    shown = context.show_feature(feature)
    if any(query_flag(request, flag) for flag in flags):
        shown = {**shown, "vectors": {name: source.json() for name, source in feature.vectors.items()}}
    return json_reply(shown)


@media("features.list", "POST", "/features")
def _features(context: Context, request: Request) -> Reply:
    # From `offset_feature_id` on, that one included, and never with vectors.
    body, size = parse_body(FeatureList, request.body, context.dialect), page_of(request, context.dialect).size
    every = context.library.walk(context.library.named(body.names()))
    features = sort_rows((one for one in every if matches(one.fields, body.filters)), body.sort, _fields)
    offset = request.query.get("offset_feature_id")
    places = (place for place, feature in enumerate(features) if offset in {None, feature.feature_id})
    start = max(0, next(places, len(features)) - (0 if offset is None else request.shifted_rows))
    shown = [
        select(context.show_feature(one, signed=body.return_urls), body.select)
        for one in islice(features, start, start + size)
    ]
    page = Page(start // size + 1, size)
    pages = pagination(page, len(features), request, "/features", number_key="current_page")
    return json_reply({"results": shown, "pagination": pages})
