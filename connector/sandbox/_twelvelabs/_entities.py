"""``/entity-collections``: who and what may be searched for by name."""

from __future__ import annotations

from typing import Any

from vectorferry.connector.sandbox._http import Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._twelvelabs._account import Entity, EntityCollection
from vectorferry.connector.sandbox._twelvelabs._requests import Context, by_time, listed, values

__all__ = ["EntityHandlers"]

_COLLECTION = "/entity-collections/{collection_id}"
_ENTITIES = f"{_COLLECTION}/entities"


class EntityHandlers:
    """Collections of entities, and an upload's entities."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """Every route."""
        return [
            Route("twelvelabs.entity_collections.list", "GET", "/entity-collections", self.collections),
            Route("twelvelabs.entity_collections.get", "GET", _COLLECTION, self.collection),
            Route("twelvelabs.entities.list", "GET", _ENTITIES, self.entities),
            Route("twelvelabs.entities.get", "GET", f"{_ENTITIES}/{{entity_id}}", self.entity),
            Route("twelvelabs.assets.entities", "GET", "/assets/{asset_id}/entities", self.of_upload),
        ]

    def collections(self, request: Request) -> Reply:
        """One page of collections."""
        found = [one for one in self._context.account.entity_collections.values() if _named(request, one.name)]
        rows = by_time(request, found, _KEYS)
        return listed(request, self._context.dialect, rows, self._shown_collection)

    def collection(self, request: Request) -> Reply:
        """One collection."""
        return json_reply(self._shown_collection(self._collection(request.params[0])))

    def entities(self, request: Request) -> Reply:
        """One page of a collection's entities."""
        states = values(request, "status")
        found = [
            one
            for one in self._collection(request.params[0]).entities.values()
            if _named(request, one.name) and (not states or one.status in states)
        ]
        return listed(request, self._context.dialect, by_time(request, found, _KEYS), self._shown)

    def entity(self, request: Request) -> Reply:
        """One entity."""
        collection_id, entity_id = request.params
        entity = self._collection(collection_id).entities.get(entity_id)
        return json_reply(self._shown(self._context.found(entity, "entities", entity_id)))

    def of_upload(self, request: Request) -> Reply:
        """The entities that an upload is a picture of."""
        upload = self._context.upload(request.params[0])
        collections = self._context.account.entity_collections.values()
        every = (entity for one in collections for entity in one.entities.values())
        rows = [entity for entity in every if upload.asset_id in entity.asset_ids]
        return listed(request, self._context.dialect, rows, self._shown)

    def _collection(self, collection_id: str) -> EntityCollection:
        collection = self._context.account.entity_collections.get(collection_id)
        return self._context.found(collection, "entity-collections", collection_id)

    def _shown_collection(self, collection: EntityCollection) -> dict[str, Any]:
        return {
            "_id": collection.collection_id,
            "name": collection.name,
            "description": collection.description,
            "created_at": self._context.time(collection.created_at),
            "updated_at": self._context.time(collection.updated_at),
        }

    def _shown(self, entity: Entity) -> dict[str, Any]:
        return {
            "_id": entity.entity_id,
            "entity_collection_id": entity.collection_id,
            "name": entity.name,
            "description": entity.description,
            "metadata": entity.metadata,
            "asset_ids": list(entity.asset_ids),
            "status": entity.status,
            "created_at": self._context.time(entity.created_at),
            "updated_at": self._context.time(entity.updated_at),
        }


def _named(request: Request, name: str) -> bool:
    return request.query.get("name", name) == name


_KEYS: dict[str, Any] = {
    "created_at": lambda one: one.created_at,
    "updated_at": lambda one: one.updated_at,
    "name": lambda one: one.name,
}
