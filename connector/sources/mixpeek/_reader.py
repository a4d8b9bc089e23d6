"""Reads whole assets: the asset's own answer, then each feature's vectors."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TypeAlias

from vectorferry.connector._errors import QuarantineError
from vectorferry.connector._records import Asset, Feature, Listing, Reason, Rejected
from vectorferry.connector.http import NotFoundError, UnreadableError
from vectorferry.connector.sources._parallel import cancellable
from vectorferry.connector.sources._reading import LeftOutError, NotThere, check_id, outcome
from vectorferry.connector.sources.mixpeek._answer import read_answer
from vectorferry.connector.sources.mixpeek._api import MixpeekApi
from vectorferry.connector.sources.mixpeek._asset_reply import asset_from, read_object
from vectorferry.connector.sources.mixpeek._features import FeatureRow, feature_from, merged

__all__ = ["AssetReader"]

Record: TypeAlias = Feature | Rejected


class _FeatureMissingError(NotFoundError):
    """A feature that the asset's answer lists has no answer of its own."""

    def __init__(self, feature_id: str, message: str) -> None:
        super().__init__(message)
        self.feature_id = feature_id


class AssetReader:
    """Reads assets side by side.

    Any number may be in work; their features are handed out one asset after the other and at most `concurrency` at a
    time, so that assets finish one by one and the vectors of few of them are in memory together.
    """

    def __init__(self, api: MixpeekApi, concurrency: int) -> None:
        self._api = api
        self._handing_out = asyncio.Lock()
        self._places = asyncio.Semaphore(concurrency)

    async def read(self, listing: Listing) -> Asset | Rejected | NotThere | None:
        """An asset, or what became of it (see `outcome`)."""
        return await outcome(listing, self._asset)

    async def _asset(self, listing: Listing) -> Asset:
        check_id(listing.asset_id)
        answer = await read_answer(self._api, listing.asset_id)
        try:
            read = await self._features(listing.asset_id, answer.rows.good)
        except _FeatureMissingError as missing:
            lost = missing
        else:
            good = [record for record in read if isinstance(record, Feature)]
            bad = [record for record in read if isinstance(record, Rejected)]
            return asset_from(listing, answer.description, good, [*answer.rows.rejected, *bad])
        await self._check_gone(listing.asset_id, lost)
        raise LeftOutError("One of its features went away meanwhile.")

    async def _check_gone(self, asset_id: str, missing: _FeatureMissingError) -> None:
        """A feature that the asset still lists is not gone but unreadable."""
        again = await read_answer(self._api, asset_id)
        if any(feature.feature_id == missing.feature_id for feature in again.rows.good):
            raise UnreadableError(f"{missing} The asset still lists this feature.")

    async def _features(self, asset_id: str, features: list[FeatureRow]) -> list[Record]:
        try:
            return await cancellable(self._together(asset_id, features))
        except BaseExceptionGroup as failures:
            failure = failures.exceptions[0]
        raise failure

    async def _together(self, asset_id: str, features: list[FeatureRow]) -> list[Record]:
        async with asyncio.TaskGroup() as group, self._handing_out:
            tasks = [await self._handed_out(group, asset_id, feature) for feature in features]
        return [record for task in tasks for record in task.result()]

    async def _handed_out(
        self, group: asyncio.TaskGroup, asset_id: str, feature: FeatureRow
    ) -> asyncio.Task[list[Record]]:
        """The place is given back by the task's end and not within it: a task cancelled early never begins."""
        await self._places.acquire()
        task = group.create_task(self._feature(asset_id, feature))
        task.add_done_callback(lambda _: self._places.release())
        return task

    async def _feature(self, asset_id: str, feature: FeatureRow) -> list[Record]:
        """The feature and those of its vectors that were set aside, or the feature set aside."""
        try:
            if feature.lacks_vectors:
                read = partial(_detailed, asset_id, feature)
                good, bad = await self._api.feature(feature.feature_id, read)
            else:
                good, bad = feature_from(asset_id, feature, feature.row)
            return [good, *bad]
        except NotFoundError as error:
            missing = str(error)
        except QuarantineError as error:
            reason = Reason(error.reason)
            return [Rejected(asset_id, reason, str(error), feature.feature_id, feature.modality)]
        raise _FeatureMissingError(feature.feature_id, missing)


def _detailed(asset_id: str, feature: FeatureRow, body: bytes) -> tuple[Feature, list[Rejected]]:
    """A feature and what of it was set aside, from its own answer, which has to be about this very feature and to say
    which vectors it has.

    An answer that does not is no answer: it would remove the vectors that a destination holds. Null or no vectors
    is one, since some features have none. Raises `ValueError`, and `QuarantineError` for the feature alone.
    """
    detail = read_object(body)
    if "feature_id" not in detail or "vectors" not in detail:
        raise ValueError("no feature with its vectors")
    if detail["feature_id"] != feature.feature_id:
        raise ValueError("the answer is about another feature")
    return feature_from(asset_id, feature, merged(feature.row, detail))
