"""Namespaces, collections, assets and features, and the tasks that submitted media would become."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson

from vectorferry.connector.sandbox._embedding import MODELS
from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._library import (
    StoredAsset,
    StoredCollection,
    StoredFeature,
    add_metadata,
    bump,
    now_text,
)
from vectorferry.connector.sandbox._mixpeek._requests import (
    AssetList,
    Context,
    FeatureList,
    MetadataUpdate,
    Page,
    matches,
    page_url,
    parse_body,
    pick,
    query_flag,
    select,
    sort_rows,
)
from vectorferry.connector.sandbox._vectors import VectorSource

__all__ = ["AssetHandlers", "CollectionHandlers", "FeatureHandlers", "TaskHandlers"]


_EPOCH = "2024-11-06T00:00:00.000000Z"


class CollectionHandlers:
    """``/collections`` and ``/namespaces``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """Every route under ``/collections`` and ``/namespaces``."""
        return [
            Route("collections.list", "GET", "/collections", self.page),
            Route("collections.get", "GET", "/collections/{collection_id}", self.get),
            Route("namespaces.list", "GET", "/namespaces", self.namespaces),
            Route("namespaces.get", "GET", "/namespaces/{namespace}", self.namespace),
            Route("namespaces.models", "GET", "/namespaces/indexes", self.models),
            Route("namespaces.models", "GET", "/namespaces/models", self.models),
        ]

    def page(self, request: Request) -> Reply:
        """One page of collections with their counts."""
        collections = self._context.library.collections.values()
        page = Page.asked(request, self._context.dialect.page_size_cap)
        rows = [_row(collection) for collection in page.rows(collections, request.shifted_rows)]
        pagination = page.pagination(len(collections), page_url(request, "/collections"))
        return json_reply({"results": rows, "pagination": pagination})

    def get(self, request: Request) -> Reply:
        """One collection, with its counts."""
        collection = self._context.collection(request.params[0])
        return json_reply({**_row(collection), "namespace_id": self._namespace_ids()[0]})

    def namespaces(self, _request: Request) -> Reply:
        """Every namespace, as a bare list."""
        return json_reply([self._shown(name) for name in self._context.dialect.namespaces])

    def namespace(self, request: Request) -> Reply:
        """One namespace, by name or id."""
        wanted = request.params[0]
        for name, namespace_id in zip(self._context.dialect.namespaces, self._namespace_ids(), strict=True):
            if wanted in {name, namespace_id}:
                return json_reply(self._shown(name))
        raise RefusedError(404, f"Namespace {wanted!r} not found")

    def models(self, _request: Request) -> Reply:
        """The embedding models in use, with their dimensions."""
        return json_reply({"embedding_models": self._models(), "payload_indexes": [{"type": "keyword"}]})

    def _models(self) -> dict[str, Any]:
        found: dict[str, dict[str, Any]] = {}
        for feature in self._context.library.walk(self._context.library.collections.values()):
            for name, source in feature.vectors.items():
                model = found.get(name) or found.setdefault(name, _model(name, source))
                modality = feature.fields.get("modality")
                if modality not in model["supported_modalities"]:
                    model["supported_modalities"].append(modality)
        return dict(sorted(found.items()))

    def _namespace_ids(self) -> tuple[str, ...]:
        return tuple(f"ns_{name}" for name in self._context.dialect.namespaces)

    def _shown(self, name: str) -> dict[str, Any]:
        models = list(self._models())
        return {"namespace_id": f"ns_{name}", "namespace_name": name, "embedding_models": models, "payload_indexes": []}


def _row(collection: StoredCollection) -> dict[str, Any]:
    assets = collection.assets.values()
    sizes = (pick(asset.fields, "file_data.file_size_bytes") or 0 for asset in assets)
    changed = max((str(asset.fields.get("updated_at")) for asset in assets), default=_EPOCH)
    return {
        "count": len(assets),
        "size_bytes": sum(sizes),
        "last_updated": changed,
        "collection_id": collection.collection_id,
        "collection_name": collection.name,
        "preview_url": None,
        "metadata": {},
    }


def _model(name: str, source: VectorSource) -> dict[str, Any]:
    vector = source.dense()
    size = MODELS.get(name) if vector is None else len(vector)
    return {"supported_modalities": [], "vector_type": "dense" if size else "sparse", "size": size}


# Assets, and the features of one asset.


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
        return sort_rows((asset for asset in every if matches(asset.fields, body.filters)), body.sort, _asset_fields)

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


def _asset_fields(asset: StoredAsset) -> dict[str, Any]:
    return asset.fields


# Features, with their vectors when they are asked for.


class FeatureHandlers:
    """``/features``, search apart."""

    def __init__(self, context: Context) -> None:
        self._context = context
        both = ("include_vectors", "return_vectors")
        self._flags = both if context.dialect.vector_flag == "both" else (context.dialect.vector_flag,)

    def routes(self) -> list[Route]:
        """Every route under ``/features`` but those of search."""
        return [
            Route("features.list", "POST", "/features", self.page),
            Route("features.get", "GET", "/features/{feature_id}", self.get),
            Route("features.update", "PUT", "/features/{feature_id}", self.update),
            Route("features.delete", "DELETE", "/features/{feature_id}", self.delete),
        ]

    def get(self, request: Request) -> Reply:
        """One feature, with `vectors` when a flag that this dialect honours says so."""
        feature = self._context.feature(request.params[0])
        shown = self._context.show_feature(feature)
        if any(query_flag(request, flag) for flag in self._flags):
            vectors = {name: source.json() for name, source in feature.vectors.items()}
            shown = {**shown, "vectors": vectors}
        return json_reply(shown)

    def page(self, request: Request) -> Reply:
        """Some features from `offset_feature_id` on, never with vectors."""
        body = parse_body(FeatureList, request.body, self._context.dialect)
        asked = Page.asked(request, self._context.dialect.page_size_cap)
        found = self._chosen(body)
        start = self._start(found, request)
        page = Page(start // asked.size + 1, asked.size)
        rows = islice(found, start, start + page.size)
        shown = [select(self._context.show_feature(one, signed=body.return_urls), body.select) for one in rows]
        pagination = page.pagination(len(found), page_url(request, "/features"), number_key="current_page")
        return json_reply({"results": shown, "pagination": pagination})

    def update(self, request: Request) -> Reply:
        """New metadata for a feature."""
        body = parse_body(MetadataUpdate, request.body, self._context.dialect)
        feature = self._context.feature(request.params[0])
        feature.fields["metadata"] = body.metadata
        bump(self._context.library.assets[feature.asset_id])
        return json_reply(self._context.show_feature(feature))

    def delete(self, request: Request) -> Reply:
        """Delete one feature."""
        feature = self._context.feature(request.params[0])
        self._context.library.remove_feature(feature.feature_id)
        bump(self._context.library.assets[feature.asset_id])
        return json_reply(None)

    def _chosen(self, body: FeatureList) -> list[StoredFeature]:
        every = self._context.library.walk(self._context.library.named(body.names()))
        return sort_rows((one for one in every if matches(one.fields, body.filters)), body.sort, _feature_fields)

    def _start(self, features: list[StoredFeature], request: Request) -> int:
        offset = request.query.get("offset_feature_id")
        if offset is None:
            return 0
        position = next((n for n, feature in enumerate(features) if feature.feature_id == offset), len(features))
        return max(0, position + (not self._context.dialect.offset_inclusive) - request.shifted_rows)


def _feature_fields(feature: StoredFeature) -> dict[str, object]:
    return feature.fields


# Submitting media, and the tasks that come of it. Nothing is ever really processed.


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
        asset = StoredAsset(asset_id, collection, _task_fields(asset_id, collection, body, self._modality(request)))
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


def _task_fields(asset_id: str, collection: str, body: dict[str, Any], modality: str) -> dict[str, Any]:
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
