"""Collections and namespaces: what there is, and with which models."""

from __future__ import annotations

from typing import Any

from vectorferry.connector.sandbox._embedding import MODELS
from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._library import StoredCollection
from vectorferry.connector.sandbox._mixpeek._context import Context
from vectorferry.connector.sandbox._mixpeek._filters import pick
from vectorferry.connector.sandbox._mixpeek._paging import Page, page_url
from vectorferry.connector.sandbox._vectors import VectorSource

__all__ = ["CollectionHandlers"]

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
