"""The five requests that this source makes, in every dialect of the API's first generation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal, TypeVar

from vectorferry.connector._errors import SourceError
from vectorferry.connector.http import ApiClient, ForbiddenError, NotFoundError, RefusedError, segment
from vectorferry.connector.sources._pages import Page, identity_by, walk
from vectorferry.connector.sources._service_api import ServiceApi
from vectorferry.connector.sources.mixpeek._asset_reply import AssetReply, read_asset, read_asset_reply
from vectorferry.connector.sources.mixpeek._pages import read_organization, read_page

__all__ = ["MixpeekApi"]

T = TypeVar("T")


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
        return walk(self._collections_page, identity_by("collection_id"))

    def assets(self, collection: str) -> AsyncIterator[Page]:
        """Every page of ``POST /assets`` for one collection."""

        async def fetch(number: int) -> Page:
            return await self._assets_page(collection, number)

        return walk(fetch, identity_by("asset_id"))

    async def asset_features(self, asset_id: str, page: int, page_size: int | None) -> AssetReply:
        """A page of ``GET /assets/{id}/features``; dialects without pages never see a page parameter."""
        params: dict[str, str | int] = {"return_url": "false"}
        if page > 1:
            params["page"] = page
            if page_size:
                params["page_size"] = page_size
        return await self._get(f"/assets/{segment(asset_id)}/features", params, read_asset_reply)

    async def asset(self, asset_id: str) -> dict[str, Any]:
        """``GET /assets/{id}``."""
        return await self._get(f"/assets/{segment(asset_id)}", {"return_url": "false"}, read_asset)

    async def feature(self, feature_id: str, decode: Callable[[bytes], T]) -> T:
        """``GET /features/{id}`` with vectors. The parameter was renamed in December 2024; both names are sent."""
        params: dict[str, str | int] = {"include_vectors": "true", "return_vectors": "true"}
        return await self._get(f"/features/{segment(feature_id)}", params, decode)

    async def _get(self, path: str, params: dict[str, str | int], decode: Callable[[bytes], T]) -> T:
        return await self._client.request("GET", await self._known_prefix() + path, params=params, decode=decode)

    async def _assets_page(self, collection: str, number: int) -> Page:
        """The body field was `collection_ids` before mid December 2024 and `collections` since."""
        key = self._collections_key
        try:
            return await self._assets_page_by(key, collection, number)
        except RefusedError as refused:
            if key != "collections" or refused.status not in (400, 422):
                raise
            page = await self._by_the_older_key(refused, collection, number)
        self._collections_key = "collection_ids"
        return page

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
        async with self._finding_prefix:
            if self._prefix is None:
                await self._collections_page(1)
        return self._prefix or ""

    async def _collections_page(self, number: int) -> Page:
        """The prefix that answers is remembered: the API moved below ``/v1`` in January 2025."""
        said = ""
        for prefix in ("", "/v1") if self._prefix is None else (self._prefix,):
            try:
                page = await self._client.request(
                    "GET",
                    f"{prefix}/collections",
                    params={"page": number, "page_size": self._page_size},
                    decode=read_page,
                )
            except NotFoundError as error:
                said = str(error)
                continue
            self._prefix = prefix
            return page
        raise SourceError(f"{said} Check source.base_url, source.api_prefix and source.namespace.")
