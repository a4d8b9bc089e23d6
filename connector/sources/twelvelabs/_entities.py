"""Entity collections and entities, who or what TwelveLabs is to recognise: two tables without vectors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final

from vectorferry.connector._errors import IncompleteScanError, SourceError
from vectorferry.connector._related import RelatedTable
from vectorferry.connector.http import ForbiddenError, NotFoundError, RefusedError
from vectorferry.connector.sources._pages import Page
from vectorferry.connector.sources._tally import Tally
from vectorferry.connector.sources._times import read_time
from vectorferry.connector.sources.twelvelabs._api import TwelveLabsApi
from vectorferry.connector.sources.twelvelabs._related_rows import check_depth, check_listed, with_rest

__all__ = ["ENTITY_TABLES", "EntityTables"]

ENTITY_COLLECTIONS: Final = RelatedTable(
    name="entity_collections",
    key="entity_collection_id",
    columns={
        "entity_collection_id": "text",
        "name": "text",
        "description": "text",
        "created_at": "timestamptz",
        "updated_at": "timestamptz",
        "extra": "jsonb",
    },
)
ENTITIES: Final = RelatedTable(
    name="entities",
    key="entity_id",
    columns={
        "entity_id": "text",
        "entity_collection_id": "text",
        "name": "text",
        "description": "text",
        "status": "text",
        "asset_ids": "jsonb",
        "metadata": "jsonb",
        "created_at": "timestamptz",
        "updated_at": "timestamptz",
        "extra": "jsonb",
    },
)
ENTITY_TABLES: Final = (ENTITY_COLLECTIONS, ENTITIES)

TEXTS: Final = ("name", "description", "status")
TIMES: Final = ("created_at", "updated_at")


class EntityTables:
    """Lists both. An account in which there is no such list has none of either."""

    def __init__(self, api: TwelveLabsApi) -> None:
        self._api = api

    async def rows(self, table: RelatedTable) -> AsyncGenerator[Mapping[str, Any], None]:
        """The rows of one of the tables. Raises `IncompleteScanError` at the end unless they are known to be all, and
        `SourceError` with the way out where the key may not read them."""
        try:
            async with aclosing(self._collections() if table == ENTITY_COLLECTIONS else self._entities()) as rows:
                async for row in rows:
                    yield row
        except ForbiddenError as error:
            forbidden = error
        else:
            return
        raise SourceError(f"{forbidden} To sync without entities, set source.entities to false.")

    async def _collections(self) -> AsyncGenerator[Mapping[str, Any], None]:
        try:
            async for row in self._listed(self._api.entity_collections(), "entity collections"):
                yield with_rest({"entity_collection_id": row["_id"], **_described(row)}, row)
        except NotFoundError:
            return

    async def _entities(self) -> AsyncGenerator[Mapping[str, Any], None]:
        collections = [row["entity_collection_id"] async for row in self._collections()]
        for collection in collections:
            try:
                async for row in self._listed(self._api.entities(collection), "entities"):
                    yield _entity(collection, row)
            except (NotFoundError, RefusedError) as error:
                raise IncompleteScanError(
                    f"an entity collection went meanwhile, so nothing is deleted: {error}"
                ) from None

    async def _listed(self, pages: AsyncIterator[Page], what: str) -> AsyncGenerator[dict[str, Any], None]:
        """Every row of a list once."""
        tally = Tally(what, "_id")
        async for page in pages:
            for row in tally.fresh(page):
                check_depth(row, what)
                yield row
        check_listed(tally, what)


def _entity(collection: str, row: Mapping[str, Any]) -> Mapping[str, Any]:
    asset_ids, metadata = row.get("asset_ids"), row.get("metadata")
    fields = {
        "entity_id": row["_id"],
        "entity_collection_id": collection,
        **_described(row),
        "asset_ids": asset_ids if isinstance(asset_ids, list) else [],
        "metadata": metadata if isinstance(metadata, dict) else {},
    }
    return with_rest(fields, row)


def _described(row: Mapping[str, Any]) -> dict[str, Any]:
    """The texts and times of a row, None for what is none."""
    texts = {key: row.get(key) if isinstance(row.get(key), str) else None for key in TEXTS}
    return {**texts, **{key: read_time(row.get(key)) for key in TIMES}}
