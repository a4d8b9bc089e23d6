"""Tables without vectors: the indexes themselves, entity collections and entities."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Final

from vectorferry.connector._model._errors import IncompleteScanError, SourceError
from vectorferry.connector._model._json import is_too_deep
from vectorferry.connector._model._related import RelatedTable
from vectorferry.connector.http import ForbiddenError, NotFoundError, RefusedError
from vectorferry.connector.sources._pages import Page, Tally
from vectorferry.connector.sources._values import lasting, read_time
from vectorferry.connector.sources.twelvelabs._api import TwelveLabsApi
from vectorferry.connector.sources.twelvelabs._indexes import Index, index_from

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
ENTITY_TIMES: Final = ("created_at", "updated_at")
INDEXES: Final = RelatedTable(
    name="indexes",
    key="collection",
    columns={
        "collection": "text",
        "name": "text",
        "model_name": "text",
        "options": "jsonb",
        "created_at": "timestamptz",
        "updated_at": "timestamptz",
        "expires_at": "timestamptz",
        "extra": "jsonb",
    },
)
INDEX_TIMES: Final = ("created_at", "updated_at", "expires_at")


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

    async def _listed(self, pages: AsyncGenerator[Page, None], name: str) -> AsyncGenerator[dict[str, Any], None]:
        """Every row of a list once."""
        tally = Tally(name, "_id")
        async with aclosing(pages):
            async for page in pages:
                for row in tally.fresh(page):
                    check_depth(row, name)
                    yield row
        tally.check()


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
    return {**texts, **{key: read_time(row.get(key)) for key in ENTITY_TIMES}}


class IndexList:
    """What one walk over the list of indexes found."""

    def __init__(self, tally: Tally, rows: list[dict[str, Any]]) -> None:
        self._tally = tally
        self._rows = rows

    @property
    def indexes(self) -> list[Index]:
        """All that have an id."""
        return [index_from(row) for row in self._rows]

    @property
    def problem(self) -> str | None:
        """What shows that these are not all; None when nothing does."""
        return self._tally.problem()

    def table_rows(self) -> Iterator[Mapping[str, Any]]:
        """The rows of the table. Raises `IncompleteScanError` at the end unless they are known to be all."""
        for row in self._rows:
            check_depth(row, "indexes")
            yield _table_row(row)
        self._tally.check()


async def index_list(api: TwelveLabsApi) -> IndexList:
    """Walk over the list of indexes once."""
    tally = Tally("indexes", "_id")
    return IndexList(tally, [row async for page in api.indexes() for row in tally.fresh(page)])


def _table_row(row: Mapping[str, Any]) -> Mapping[str, Any]:
    index = index_from(row)
    fields = {
        "collection": index.index_id,
        "name": index.name,
        "model_name": index.model_name,
        "options": list(index.options or ()),
        **{key: read_time(row.get(key)) for key in INDEX_TIMES},
    }
    return with_rest(fields, {key: value for key, value in row.items() if key != "index_name" or index.name is None})


def with_rest(fields: Mapping[str, Any], row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The columns, and in `extra` whatever else the service said, a value that fits no column included."""
    rest = {key: value for key, value in row.items() if key != "_id" and value is not None and not fields.get(key)}
    return {**fields, "extra": lasting({key: value for key, value in rest.items() if value not in ("", [], {})})}


def check_depth(row: Mapping[str, Any], rows: str) -> None:
    """Raise `IncompleteScanError` for a row that no table can hold."""
    if is_too_deep(row):
        raise IncompleteScanError(f"one of the {rows} is nested too deeply, so nothing is deleted")
