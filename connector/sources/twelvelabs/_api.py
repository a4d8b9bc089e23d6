"""The requests that this source makes, and the pages they answer with."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import lru_cache, partial
from typing import Any, Final, Literal, TypeAlias, TypeVar

from vectorferry.connector._model._errors import CollectionError
from vectorferry.connector._model._json import parse_json
from vectorferry.connector.http import (
    ApiClient,
    ForbiddenError,
    NotFoundError,
    Params,
    RefusedError,
    one_line,
    query_of,
    segment,
)
from vectorferry.connector.sources._pages import Page, count_in, identities_by, walk
from vectorferry.connector.sources._reading import check_id
from vectorferry.connector.sources._service import ServiceApi
from vectorferry.connector.sources._values import read_object

T = TypeVar("T")
TaskKind: TypeAlias = Literal["embed", "embed-v2"]

OLDEST_FIRST: Final = {"sort_by": "created_at", "sort_option": "asc"}
"""What is added while a list is walked over then comes at its end; the default is newest first."""

GONE: Final = frozenset({"read_not_allowed", "resource_not_exist"})
"""404 is declared for some things only. The first code has been seen with 403 for ids that are gone; the documents give
the second without a status."""

OWN_LISTS: Final = frozenset({"/indexes", "/embed/tasks", "/embed-v2/tasks", "/entity-collections"})
"""Every account has these; a key that may not read them is a bad key."""

MOST_AT_ONCE: Final = 8
"""Pages of a list: four hundred rows in memory, and under a minute for a hundred thousand assets at 150 ms a page."""

_identities = identities_by("_id")


class TwelveLabsApi(ServiceApi):
    """Knows paths and parameters, and the older name under which an index's assets may be found."""

    def __init__(self, client: ApiClient, page_size: int, concurrency: int) -> None:
        super().__init__(client)
        self._page_size = page_size
        self._pages_at_once = min(concurrency, MOST_AT_ONCE)
        self._older: set[str] = set()

    async def check(self) -> None:
        """Ask a small question. Raises `SourceError` when the service does not answer even that."""
        await self._get("/indexes", {"page": 1, "page_limit": 1}, read_page, kind="list")

    def indexes(self) -> AsyncGenerator[Page, None]:
        """Every page of ``GET /indexes``."""
        return self._list("/indexes", OLDEST_FIRST)

    async def index(self, index_id: str) -> dict[str, Any]:
        """``GET /indexes/{id}``."""
        return await self._get(index_path(index_id), {}, partial(read_index, index_id))

    async def assets(self, index_id: str) -> AsyncGenerator[Page, None]:
        """Every page of ``GET /indexes/{id}/indexed-assets``, or of its predecessor where there is no such list."""
        seen = False
        try:
            async with aclosing(self._list(self._assets_path(index_id), OLDEST_FIRST)) as pages:
                async for page in pages:
                    seen = True
                    yield page
            return
        except NotFoundError as error:
            if seen or index_id in self._older:
                raise
            missing = error
        async with aclosing(self._older_assets(index_id, missing)) as pages:
            async for page in pages:
                yield page

    async def asset(
        self, index_id: str, asset_id: str, options: Sequence[str], *, transcription: bool, decode: Callable[[bytes], T]
    ) -> T:
        """``GET /indexes/{id}/indexed-assets/{id}``."""
        query = _asset_query(tuple(options), transcription=transcription)
        return await self._get(f"{self._assets_path(index_id)}/{segment(asset_id)}", query, decode)

    async def transcription(self, upload_id: str, parts: str, decode: Callable[[bytes], T]) -> T:
        """``GET /assets/{id}/transcription``. Raises `QuarantineError` for an id that cannot be part of an address."""
        check_id(upload_id)
        return await self._get(f"/assets/{segment(upload_id)}/transcription", {"include": parts}, decode)

    def entity_collections(self) -> AsyncGenerator[Page, None]:
        """Every page of ``GET /entity-collections``."""
        return self._list("/entity-collections", OLDEST_FIRST)

    def entities(self, collection_id: str) -> AsyncGenerator[Page, None]:
        """Every page of ``GET /entity-collections/{id}/entities``."""
        return self._list(f"{_path('/entity-collections', collection_id)}/entities", OLDEST_FIRST)

    def tasks(self, kind: TaskKind) -> AsyncGenerator[Page, None]:
        """Every page of ``GET /embed/tasks`` or ``/embed-v2/tasks``: those of the last seven days."""
        return self._list(f"/{kind}/tasks", {})

    async def task(self, kind: TaskKind, task_id: str, decode: Callable[[bytes], T]) -> T:
        """``GET /embed/tasks/{id}`` or ``/embed-v2/tasks/{id}``; both give all options when none is asked for."""
        return await self._get(f"/{kind}/tasks/{segment(task_id)}", {}, decode)

    def is_listed_as_videos(self, index_id: str) -> bool:
        """Whether an index's assets were found under their older name only."""
        return index_id in self._older

    def _assets_path(self, index_id: str) -> str:
        kind = "videos" if index_id in self._older else "indexed-assets"
        return f"{index_path(index_id)}/{kind}"

    async def _older_assets(self, index_id: str, missing: NotFoundError) -> AsyncGenerator[Page, None]:
        self._older.add(index_id)
        try:
            async with aclosing(self._list(self._assets_path(index_id), OLDEST_FIRST)) as pages:
                async for page in pages:
                    yield page
        except NotFoundError:
            self._older.discard(index_id)
            raise CollectionError(f"{missing} Check source.collections.") from None

    def _list(self, path: str, params: Mapping[str, str]) -> AsyncGenerator[Page, None]:
        """Several pages at a time where the order is known in which they come."""

        async def fetch(number: int) -> Page:
            paged: dict[str, str | int] = {**params, "page": number, "page_limit": self._page_size}
            return await self._get(path, paged, read_page, kind="list")

        return walk(fetch, _identities, self._pages_at_once if params == OLDEST_FIRST else 1)

    async def _get(
        self, path: str, params: Params, decode: Callable[[bytes], T], kind: Literal["list", "read"] = "read"
    ) -> T:
        """Raises `NotFoundError` also where the service has other words for that."""
        try:
            return await self._client.request("GET", path, params=params, kind=kind, decode=decode)
        except (ForbiddenError, RefusedError) as error:
            if error.code not in GONE or path in OWN_LISTS:
                raise
            code = error.code
        raise NotFoundError(f"{self.host} has nothing for GET {path} that this key may read ({code}).")


@lru_cache
def _asset_query(options: tuple[str, ...], *, transcription: bool) -> Params:
    spoken = {"transcription": "true"} if transcription else {}
    return query_of({**({"embedding_option": options} if options else {}), **spoken})


def read_page(body: bytes) -> Page:
    """A page from an answer; `data` may be null. Raises `ValueError` when it is no page at all."""
    answer = parse_json(body)
    if not isinstance(answer, dict) or not answer.keys() & {"data", "page_info"}:
        raise ValueError("neither data nor page_info")
    rows, counts = answer.get("data"), answer.get("page_info")
    if not isinstance(rows, list | None):
        raise ValueError("data is not a list")
    if not isinstance(counts, dict | None):
        raise ValueError("page_info is not an object")
    return Page(rows or [], count_in(counts or {}, "total_results"), count_in(counts or {}, "total_page"))


@lru_cache
def index_path(index_id: str) -> str:
    """Where an index is. Raises `CollectionError` for an id that cannot be part of an address."""
    return _path("/indexes", index_id)


def _path(kind: str, identifier: str) -> str:
    try:
        return f"{kind}/{segment(identifier)}"
    except ValueError:
        shown = one_line(repr(identifier), 60)
        raise CollectionError(f"The id {shown} in {kind} cannot be part of an address.") from None


def read_index(index_id: str, body: bytes) -> dict[str, Any]:
    """An index's own answer. Raises `ValueError` when it is about another: its assets would be taken for this one's."""
    answer = read_object(body)
    if answer.get("_id") != index_id:
        raise ValueError("the answer is about another index")
    return answer
