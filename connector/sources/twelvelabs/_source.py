"""The source: names indexes, lists their assets, reads them with embeddings and transcriptions."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

from vectorferry.connector._model._errors import CollectionError, ConfigurationError, SourceError
from vectorferry.connector._model._records import Listing
from vectorferry.connector._model._related import RelatedTable
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._source import EmbeddedText, Hit, Origin, SourceQuery, Submission, SubmitOptions
from vectorferry.connector.http import NotFoundError, RefusedError
from vectorferry.connector.sources._reading import ReadAsset
from vectorferry.connector.sources._service import CollectionList, ServiceSource
from vectorferry.connector.sources.twelvelabs._api import TwelveLabsApi
from vectorferry.connector.sources.twelvelabs._indexed_assets import IndexedAssets
from vectorferry.connector.sources.twelvelabs._indexes import Index, ReadOptions, index_from
from vectorferry.connector.sources.twelvelabs._search import Searcher
from vectorferry.connector.sources.twelvelabs._submit import Submitter, check_metadata
from vectorferry.connector.sources.twelvelabs._tables import ENTITY_TABLES, INDEXES, EntityTables, IndexList, index_list
from vectorferry.connector.sources.twelvelabs._tasks import TASKS, EmbedTasks

DEFAULT_MODEL: Final = "marengo3.0"
_MODEL_OF_A_NAME: Final = re.compile(r"marengo\d+\.\d+", re.IGNORECASE)
"""Behind it stands the option, as in ``marengo3.0-visual``."""


class TwelveLabsSource(ServiceSource):
    """TwelveLabs' API. Its collections are the configured indexes, then the embedding tasks, if asked for."""

    capabilities = frozenset({Capability.EMBED, Capability.SEARCH, Capability.SUBMIT})

    _api: TwelveLabsApi
    _nothing_listed = "lists no index; check that the key is that of the right account."

    def __init__(
        self,
        api: TwelveLabsApi,
        collections: Sequence[str],
        options: ReadOptions,
        concurrency: int,
        *,
        embed_tasks: bool,
        submitter: Submitter,
        searcher: Searcher,
        entities: bool,
    ) -> None:
        super().__init__(api, collections, concurrency)
        self._submitter = submitter
        self._searcher = searcher
        self._options = options
        self._embed_tasks = embed_tasks
        self._with_entities = entities
        self._indexes: IndexList | None = None
        self._readers: dict[str, IndexedAssets | EmbedTasks] = {
            name: EmbedTasks(api, name, options.limits) for name in TASKS
        }

    def is_gone(self, collection: str) -> bool:
        """Whether all indexes are wanted, and so were named, or this one is configured and was not found. Embedding
        tasks only ever drop out of their list."""
        return collection in self._not_found or (not self._configured and collection not in TASKS)

    async def identity(self, collection: str) -> Origin:  # noqa: ARG002
        """Service and key: a key belongs to one account, which no answer names."""
        return self._api.identity("twelvelabs")

    async def scan(self, collection: str) -> AsyncGenerator[Listing, None]:
        """Every asset of a collection once; raises `IncompleteScanError` at its end unless it is known to be whole."""
        async with aclosing((await self._collection(collection)).scan()) as listings:
            async for listing in listings:
                yield listing

    def requests_to_read(self, assets: int, features: int) -> int:  # noqa: ARG002 - they come with their asset
        """One for each asset, and another when its own transcription is wanted."""
        return assets * (2 if self._options.finer else 1)

    def check_submission(self, urls: Sequence[str], options: SubmitOptions) -> None:  # noqa: ARG002
        """Raise `ConfigurationError` for metadata that TwelveLabs does not take."""
        check_metadata(options.metadata)

    async def submit(self, collection: str, url: str, options: SubmitOptions) -> AsyncGenerator[Submission, None]:
        """Upload what is at this URL, index it, and tell of each change until it is ready or has failed."""
        index = await self._index(collection)
        async with aclosing(self._submitter.submit(index.index_id, url, options)) as changes:
            async for change in changes:
                yield change

    async def search(self, collection: str, query: SourceQuery) -> Sequence[Hit]:
        """The hits of TwelveLabs' own search in an index; without `options`, by all that it was made with."""
        index = await self._index(collection)
        search_options = query.options or index.options or self._options.of(index)
        return await self._searcher.search(index.index_id, replace(query, options=search_options))

    async def embed(self, text: str, vector_name: str | None) -> EmbeddedText:
        """By the model that a named vector is called after, `marengo3.0` where none is named: texts have no option."""
        model = _MODEL_OF_A_NAME.match(vector_name or DEFAULT_MODEL)
        if model is None:
            raise ConfigurationError(f"--vector {vector_name}: no model of TwelveLabs' is called so; try marengo3.0")
        return EmbeddedText(model[0], await self._searcher.embed(text, model[0]))

    @property
    def related_tables(self) -> Sequence[RelatedTable]:
        """The indexes; entity collections and entities, when these are wanted."""
        return (INDEXES, *ENTITY_TABLES) if self._with_entities else (INDEXES,)

    async def related_rows(self, table: RelatedTable) -> AsyncGenerator[Mapping[str, Any], None]:
        """Their rows; those of the indexes as `collections` has listed them, without another request."""
        if table == INDEXES:
            for row in (self._indexes or await self._list_indexes()).table_rows():
                yield row
            return
        async with aclosing(EntityTables(self._api).rows(table)) as rows:
            async for row in rows:
                yield row

    async def _listed_collections(self) -> CollectionList:
        """Raises `ConfigurationError` for an embedding option that no index has."""
        listed = await self._list_indexes()
        self._options.check(listed.indexes)
        for index in listed.indexes:
            self._readers.setdefault(index.index_id, IndexedAssets(self._api, index, self._options))
        return CollectionList({index.index_id: index.name for index in listed.indexes}, listed.problem)

    async def _reader(self, collection: str) -> ReadAsset:
        return (await self._collection(collection)).read

    def _unlisted_collections(self) -> Sequence[str]:
        return tuple(TASKS) if self._embed_tasks else ()

    async def _list_indexes(self) -> IndexList:
        self._indexes = await index_list(self._api)
        return self._indexes

    async def _collection(self, collection: str) -> IndexedAssets | EmbedTasks:
        if collection not in self._readers:
            self._readers[collection] = IndexedAssets(self._api, await self._index(collection), self._options)
        return self._readers[collection]

    async def _index(self, index_id: str) -> Index:
        if index_id in TASKS:
            raise SourceError(f"{index_id} is no index: nothing can be submitted to it or searched in it.")
        try:
            return index_from(await self._api.index(index_id))
        except (NotFoundError, RefusedError) as error:
            missing = str(error)
        raise CollectionError(f"{missing} Check source.collections: it may have expired, or been deleted.")
