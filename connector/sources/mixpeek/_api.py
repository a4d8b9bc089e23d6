"""The requests that this source makes, in every dialect of the API's first generation, and the answers to the lists.

The answers for one asset are ``{asset, features: {video, image, text, audio}}`` since November 2024, and before that
``{video_segments: [...]}``; either with or without pagination.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from vectorferry.connector._model._errors import SourceError
from vectorferry.connector._model._records import AssetState
from vectorferry.connector.http import (
    ApiClient,
    ForbiddenError,
    NotFoundError,
    Params,
    RefusedError,
    query_of,
    segment,
)
from vectorferry.connector.sources._pages import Page, count_in, identities_by, pagination_in, walk
from vectorferry.connector.sources._service import ServiceApi
from vectorferry.connector.sources._values import fingerprint_unsigned, read_object, read_time

T = TypeVar("T")
CONTENTS: Final = frozenset({"asset", "features", "video_segments", "pagination"})
NAMED: Final = frozenset({"asset_id", "collection_id", "modality", "url", "preview_url", "score", "status", "metadata"})
TIMES: Final = ("created_at", "updated_at")
OWN_PLACES: Final = NAMED | {*TIMES}

VOLATILE: Final = frozenset({"score", "url", "preview_url"})
"""`score` belongs to a search, and both addresses are signed anew for every answer."""

WITHOUT_URLS: Final = query_of({"return_url": "false"})
WITH_VECTORS: Final = query_of({"include_vectors": "true", "return_vectors": "true"})

READY: Final = frozenset({"DONE", "COMPLETED", "SKIPPED"})
FAILED: Final = frozenset({"FAILED", "ERROR", "CANCELLED", "CANCELED"})


@dataclass(frozen=True, slots=True)
class AssetReply:
    """One page of an asset's answer; without pagination it is the only one.

    `description` is what it says of the asset itself, None when nothing. The page's rows are features as they came,
    each with the modality that its place implies. `page_size` is the service's own.
    """

    description: Mapping[str, Any] | None
    page: Page
    page_size: int | None


class MixpeekApi(ServiceApi):
    """Knows paths, parameters and the two things that dialects differ in: the prefix, and a body field's name."""

    def __init__(self, client: ApiClient, prefix: Literal["auto", "", "/v1"], page_size: int) -> None:
        super().__init__(client)
        self._prefix = None if prefix == "auto" else prefix
        self._finding_prefix = asyncio.Lock()
        self._page_size = page_size
        self._collections_key = "collections"
        self._organization: str | None = None

    async def check(self) -> None:
        """Ask a small question. Raises `SourceError` when the service does not answer even that."""
        await self._collections_page(1)

    async def organization(self) -> str:
        """The id of the organization that the key belongs to, from ``GET /organizations``; empty where it is not told.

        Asked once, without retries: a run is not to wait for what only makes a message clearer.
        """
        if self._organization is None:
            path = f"{await self._known_prefix()}/organizations"
            try:
                self._organization = await self._client.request("GET", path, decode=read_organization, once=True)
            except (SourceError, ForbiddenError):
                self._organization = ""
        return self._organization

    def collections(self) -> AsyncIterator[Page]:
        """Every page of ``GET /collections``."""
        return walk(self._collections_page, identities_by("collection_id"))

    def assets(self, collection: str) -> AsyncIterator[Page]:
        """Every page of ``POST /assets`` for one collection."""

        async def fetch(number: int) -> Page:
            return await self._assets_page(collection, number)

        return walk(fetch, identities_by("asset_id"))

    async def asset_features(self, asset_id: str, page: int, page_size: int | None) -> AssetReply:
        """A page of ``GET /assets/{id}/features``; dialects without pages never see a page parameter."""
        query = WITHOUT_URLS
        if page > 1:
            size = {"page_size": page_size} if page_size else {}
            query = query_of({"return_url": "false", "page": page, **size})
        return await self._get(f"/assets/{segment(asset_id)}/features", query, read_asset_reply)

    async def asset(self, asset_id: str) -> dict[str, Any]:
        """``GET /assets/{id}``."""
        return await self._get(f"/assets/{segment(asset_id)}", WITHOUT_URLS, read_asset)

    async def feature(self, feature_id: str, decode: Callable[[bytes], T]) -> T:
        """``GET /features/{id}`` with vectors. The parameter was renamed in December 2024; both names are sent."""
        return await self._get(f"/features/{segment(feature_id)}", WITH_VECTORS, decode)

    async def task(self, task_id: str, decode: Callable[[bytes], T]) -> T:
        """``GET /tasks/{id}``."""
        return await self._get(f"/tasks/{segment(task_id)}", {}, decode)

    async def post(
        self,
        path: str,
        body: Mapping[str, Any],
        decode: Callable[[bytes], T],
        *,
        params: Mapping[str, str | int] | None = None,
        kind: str = "",
        once: bool = False,
    ) -> T:
        """A ``POST`` below the prefix; with `once` it is not sent again when it may have been received.

        Raises `NotFoundError` also where only another method is known of this path (405): ``/features/search`` is then
        taken for the id of a feature.
        """
        path = await self._known_prefix() + path
        try:
            return await self._client.request(
                "POST", path, params=params, json=body, decode=decode, kind=kind, once=once
            )
        except RefusedError as refused:
            if refused.status != 405:
                raise
            missing = str(refused)
        raise NotFoundError(missing)

    async def _get(self, path: str, params: Params, decode: Callable[[bytes], T]) -> T:
        prefix = await self._known_prefix() if self._prefix is None else self._prefix
        return await self._client.request("GET", prefix + path, params=params, decode=decode)

    async def _assets_page(self, collection: str, number: int) -> Page:
        """The body field was `collection_ids` before mid December 2024 and `collections` since."""
        key = self._collections_key
        try:
            return await self._assets_page_by(key, collection, number)
        except NotFoundError as error:
            missing = str(error)
        except RefusedError as refused:
            if key != "collections" or refused.status not in (400, 422):
                raise
            page = await self._by_the_older_key(refused, collection, number)
            self._collections_key = "collection_ids"
            return page
        raise NotFoundError(f"{missing} An account of documents is read with source.type: mixpeek-documents.")

    async def _by_the_older_key(self, refused: RefusedError, collection: str, number: int) -> Page:
        try:
            return await self._assets_page_by("collection_ids", collection, number)
        except RefusedError:
            raise refused from None

    async def _assets_page_by(self, key: str, collection: str, number: int) -> Page:
        return await self._client.request(
            "POST",
            f"{await self._known_prefix()}/assets",
            params={"page": number, "page_size": self._page_size},
            json={key: [collection]},
            decode=read_page,
        )

    async def _known_prefix(self) -> str:
        if self._prefix is not None:
            return self._prefix
        async with self._finding_prefix:
            if self._prefix is None:
                await self._collections_page(1)
        return self._prefix or ""

    async def _collections_page(self, number: int) -> Page:
        """The prefix that answers is remembered: the API moved below ``/v1`` in January 2025."""
        missing = ""
        for prefix in ("", "/v1") if self._prefix is None else (self._prefix,):
            try:
                page = await self._client.request(
                    "GET",
                    f"{prefix}/collections",
                    params={"page": number, "page_size": self._page_size},
                    decode=read_page,
                )
            except NotFoundError as error:
                missing = str(error)
                continue
            self._prefix = prefix
            return page
        raise SourceError(f"{missing} Check source.base_url, source.api_prefix and source.namespace.")


def state_of(status: Any) -> AssetState:
    """Whether Mixpeek has finished with an asset.

    SKIPPED is final as well (a duplicate is not processed again), so what the asset has is all it will have. An
    absent status is taken as ready: the schema allows it, and an asset that changes later is listed differently
    later and read again, whereas waiting for a status that never comes would leave it out for ever.
    """
    if status is None:
        return AssetState.READY
    word = status.upper() if isinstance(status, str) else ""
    if word in READY:
        return AssetState.READY
    return AssetState.FAILED if word in FAILED else AssetState.PENDING


def fingerprint(row: Mapping[str, Any]) -> str:
    """32 hexadecimal digits over everything in a row that stays the same from one listing to the next.

    A row that is nested too deeply to compare gets other digits each time, so that its asset always counts as changed.
    """
    lasting = dict(row)
    for key in VOLATILE:
        lasting.pop(key, None)
    return fingerprint_unsigned(lasting)


def read_page(body: bytes) -> Page:
    """A page from an answer. Raises `ValueError` when there are no `results`."""
    answer = read_object(body)
    if not isinstance(answer.get("results"), list):
        raise ValueError("no list of results")
    pagination = pagination_in(answer)
    return Page(answer["results"], count_in(pagination, "total"), count_in(pagination, "total_pages"))


def read_organization(body: bytes) -> str:
    """The organization's id, or what stands for it; empty when there is none. What else the answer holds, users and
    their keys, is left where it is. Raises `ValueError` for what is no object."""
    answer = read_object(body)
    named = (answer.get(name) for name in ("organization_id", "internal_id", "organization_name"))
    return next((text for text in named if isinstance(text, str) and text), "")


def read_asset(body: bytes) -> dict[str, Any]:
    """What an asset's own answer says of it. Raises `ValueError` when it does not say which asset that is."""
    answer = read_object(body)
    if not isinstance(answer.get("asset_id"), str):
        raise ValueError("no asset_id")
    return answer


def read_asset_reply(body: bytes) -> AssetReply:
    """An asset's answer, or a page of it. Raises `ValueError` when it lists no features in either form."""
    answer = read_object(body)
    pagination = pagination_in(answer)
    total_pages = count_in(pagination, "total_pages") if pagination else 1
    page = Page(list(_rows(answer)), count_in(pagination, "total"), total_pages)
    return AssetReply(_description(answer), page, count_in(pagination, "page_size"))


def fields_of(description: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that has no place of its own in an asset's record, and what could not be read there."""

    def is_left(key: str, value: Any) -> bool:
        if key in TIMES:
            return value is not None and read_time(value) is None
        if key == "metadata":
            return not isinstance(value, dict | None)
        return key == "modality" and not isinstance(value, str | None)

    return {key: value for key, value in description.items() if key not in OWN_PLACES or is_left(key, value)}


def _description(answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The October form has no `asset`: what it says of the asset stands beside the segments."""
    asset = answer.get("asset")
    if isinstance(asset, dict):
        return asset
    return {key: value for key, value in answer.items() if key not in CONTENTS} or None


def _rows(answer: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    features, segments = answer.get("features"), answer.get("video_segments")
    if not isinstance(features, dict) and not isinstance(segments, list):
        raise ValueError("neither features nor video_segments")
    groups = {**(features or {}), **({"video": segments} if segments else {})}
    for modality, rows in groups.items():
        if not isinstance(rows, list | None):
            raise ValueError(f"the {modality} features are not a list")
        yield from ((modality, row) for row in rows or ())
