"""Reads whole assets: the asset's own answer, page by page, then each feature's vectors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from operator import itemgetter
from typing import Any

from connector._errors import QuarantineError
from connector._records import Asset, Feature, Listing, Reason, Rejected
from connector.http import NotFoundError, RefusedError, UnreadableError
from connector.sources.mixpeek._api import MixpeekApi
from connector.sources.mixpeek._asset_reply import AssetReply, asset_from, read_object
from connector.sources.mixpeek._features import FeatureRow, feature_from, feature_rows, merged
from connector.sources.mixpeek._pages import Page, walk

__all__ = ["AssetReader"]

log = logging.getLogger(__name__)


_row_itself = itemgetter(1)


class AssetReader:
    """Reads assets side by side.

    Any number may be in work; their features are handed out one asset after the other and at most `concurrency` at a
    time, so that assets finish one by one and the vectors of few of them are in memory together.
    """

    def __init__(self, api: MixpeekApi, concurrency: int) -> None:
        self._api = api
        self._handing_out = asyncio.Lock()
        self._places = asyncio.Semaphore(concurrency)

    async def read(self, listing: Listing) -> Asset | Rejected | None:
        """An asset; None when it, or one of its features, is not there any more; a `Rejected` with
        `Reason.UNREADABLE` when the service gave no usable answer for it."""
        try:
            return await self._asset(listing)
        except NotFoundError as error:
            log.warning("Asset %s is left out, the next run looks again: %s", listing.asset_id, error)
            return None
        except (UnreadableError, RefusedError) as error:
            return Rejected(listing.asset_id, Reason.UNREADABLE, str(error))

    async def _asset(self, listing: Listing) -> Asset:
        first, rows = await self._answer(listing.asset_id)
        description = first.description or await self._description(listing.asset_id)
        features, rejected = feature_rows(listing.asset_id, rows)
        self._check(listing.asset_id, description, first.page.total, len(rows), rejected)
        read = await self._features(listing.asset_id, features)
        good = [feature for feature in read if isinstance(feature, Feature)]
        rejected += [feature for feature in read if isinstance(feature, Rejected)]
        return asset_from(listing, description, good, rejected)

    async def _answer(self, asset_id: str) -> tuple[AssetReply, list[tuple[str, Any]]]:
        """The first page of an asset's answer, and the feature rows of all its pages."""
        replies: list[AssetReply] = []

        async def fetch(number: int) -> Page:
            replies.append(await self._api.asset_features(asset_id, number, replies[0].page_size if replies else None))
            return replies[-1].page

        rows = [row async for page in walk(fetch, _row_itself) for row in page.rows]
        return replies[0], rows

    def _check(
        self, asset_id: str, description: Mapping[str, Any], total: int | None, found: int, rejected: list[Rejected]
    ) -> None:
        """An asset is read as a whole or not at all: a part of it would remove the rest from a destination."""
        if description.get("asset_id") not in (None, asset_id):
            raise UnreadableError(f"{self._api.host} answered for another asset than the one asked for.")
        repeated = sum(one.reason is Reason.DUPLICATE_ID for one in rejected)
        if total not in (None, found, found - repeated):
            raise UnreadableError(f"{self._api.host} announced {total} features of this asset and sent {found}.")

    async def _description(self, asset_id: str) -> Mapping[str, Any]:
        try:
            return await self._api.asset(asset_id)
        except NotFoundError:
            return {}

    async def _features(self, asset_id: str, features: list[FeatureRow]) -> list[Feature | Rejected]:
        try:
            async with asyncio.TaskGroup() as group, self._handing_out:
                tasks = [await self._handed_out(group, asset_id, feature) for feature in features]
        except BaseExceptionGroup as failures:
            failure = failures.exceptions[0]
        else:
            return [task.result() for task in tasks]
        raise failure

    async def _handed_out(
        self, group: asyncio.TaskGroup, asset_id: str, feature: FeatureRow
    ) -> asyncio.Task[Feature | Rejected]:
        """The place is given back by the task's end and not within it: a task cancelled early never begins."""
        await self._places.acquire()
        task = group.create_task(self._feature(asset_id, feature))
        task.add_done_callback(lambda _: self._places.release())
        return task

    async def _feature(self, asset_id: str, feature: FeatureRow) -> Feature | Rejected:
        try:
            if feature.lacks_vectors:
                return await self._api.feature(feature.feature_id, partial(_detailed, feature))
            return feature_from(feature, feature.row)
        except QuarantineError as error:
            reason = Reason(error.reason)
            return Rejected(asset_id, reason, str(error), feature.feature_id, feature.modality)


def _detailed(feature: FeatureRow, body: bytes) -> Feature:
    """A feature from its own answer, which has to be about this very feature."""
    detail = read_object(body)
    if detail.get("feature_id") not in (None, feature.feature_id):
        raise ValueError("the answer is about another feature")
    return feature_from(feature, merged(feature.row, detail))
