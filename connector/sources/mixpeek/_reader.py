"""Reads whole assets: the asset's own answer, as a whole or not at all, then each feature's vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from vectorferry.connector._model._errors import QuarantineError
from vectorferry.connector._model._json import is_too_deep
from vectorferry.connector._model._limits import AssetBudget, SourceLimits
from vectorferry.connector._model._records import Asset, AssetState, Feature, Listing, Reason, Rejected
from vectorferry.connector.http import NotFoundError, UnreadableError, one_line
from vectorferry.connector.sources._pages import Page, identities_by, walk
from vectorferry.connector.sources._reading import LeftOutError, NotReadyError, asset_from, cancellable, check_id
from vectorferry.connector.sources._vectors import LiftedVectors, read_lifted
from vectorferry.connector.sources.mixpeek._api import AssetReply, MixpeekApi, fields_of, state_of
from vectorferry.connector.sources.mixpeek._features import (
    INLINE,
    FeatureRow,
    FeatureRows,
    feature_from,
    feature_rows,
    merged,
    vector_count,
)

_feature_identities = identities_by("feature_id")

NAMES_LIFTED: Final = 16
"""Far more vectors than a feature has; each is looked for in every answer."""


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

    def __init__(self, api: MixpeekApi, concurrency: int, limits: SourceLimits) -> None:
        self._api = api
        self._limits = limits
        self._lifted_names: tuple[str, ...] = ()
        self._handing_out = asyncio.Lock()
        self._places = asyncio.Semaphore(concurrency)

    async def read(self, listing: Listing) -> Asset:
        """An asset with features and vectors. Raises what `read_answer` raises, and `LeftOutError` when a feature goes
        meanwhile."""
        check_id(listing.asset_id)
        budget = AssetBudget(self._limits)
        answer = await read_answer(self._api, listing.asset_id, budget)
        try:
            read = await self._features(listing.asset_id, answer.rows.good, budget)
        except _FeatureMissingError as missing:
            lost = missing
        else:
            bad = [record for record in read if isinstance(record, Rejected)]
            modality = answer.description.get("modality")
            return asset_from(
                listing,
                answer.description,
                modality=modality if isinstance(modality, str) else None,
                url=answer.description.get("url"),
                metadata=answer.description.get("metadata"),
                fields=fields_of(answer.description),
                features=[record for record in read if isinstance(record, Feature)],
                rejected=[*answer.rows.rejected, *bad],
            )
        await self._check_gone(listing.asset_id, lost)
        raise LeftOutError("One of its features went away meanwhile.")

    async def _check_gone(self, asset_id: str, missing: _FeatureMissingError) -> None:
        """A feature that the asset still lists is not gone but unreadable."""
        again = await read_answer(self._api, asset_id, AssetBudget(self._limits))
        if any(feature.feature_id == missing.feature_id for feature in again.rows.good):
            raise UnreadableError(f"{missing} The asset still lists this feature.")

    async def _features(
        self, asset_id: str, features: list[FeatureRow], budget: AssetBudget
    ) -> list[Feature | Rejected]:
        try:
            return await cancellable(self._together(asset_id, features, budget))
        except BaseExceptionGroup as failures:
            failure = failures.exceptions[0]
        raise failure

    async def _together(
        self, asset_id: str, features: list[FeatureRow], budget: AssetBudget
    ) -> list[Feature | Rejected]:
        async with asyncio.TaskGroup() as group, self._handing_out:
            tasks = [await self._handed_out(group, asset_id, feature, budget) for feature in features]
        return [record for task in tasks for record in task.result()]

    async def _handed_out(
        self, group: asyncio.TaskGroup, asset_id: str, feature: FeatureRow, budget: AssetBudget
    ) -> asyncio.Task[list[Feature | Rejected]]:
        """The place is given back by the task's end and not within it: a task cancelled early never begins."""
        await self._places.acquire()
        task = group.create_task(self._feature(asset_id, feature, budget))
        task.add_done_callback(lambda _: self._places.release())
        return task

    async def _feature(self, asset_id: str, feature: FeatureRow, budget: AssetBudget) -> list[Feature | Rejected]:
        """The feature and those of its vectors that were set aside, or the feature set aside."""
        try:
            if feature.lacks_vectors:
                read = partial(self._detailed, asset_id, feature, budget)
                good, bad = await self._api.feature(feature.feature_id, read)
            else:
                good, bad = feature_from(asset_id, feature, feature.row, LiftedVectors())
            return [good, *bad]
        except NotFoundError as error:
            missing = str(error)
        except QuarantineError as error:
            reason = Reason(error.reason)
            if reason is Reason.OVER_LIMIT:  # of the whole asset
                raise
            return [Rejected(asset_id, reason, str(error), feature.feature_id, feature.modality)]
        raise _FeatureMissingError(feature.feature_id, missing)

    def _detailed(
        self, asset_id: str, feature: FeatureRow, budget: AssetBudget, body: bytes
    ) -> tuple[Feature, list[Rejected]]:
        """A feature and what of it was set aside, from its own answer, whose vectors are lifted out where their names
        are known from answers before it. Raises what `_checked` raises, and `QuarantineError`, mostly for the feature
        alone."""

        def read(answer: Any, lifted: LiftedVectors) -> tuple[int, Feature, list[Rejected]]:
            detail = _checked(feature.feature_id, answer)
            return vector_count(detail), *feature_from(asset_id, feature, merged(feature.row, detail), lifted)

        count, good, bad = read_lifted(body, self._lifted_names, read)
        budget.spend(0, count)
        if new := good.vectors.keys() - {*self._lifted_names, INLINE}:
            self._lifted_names = (*self._lifted_names, *sorted(new))[:NAMES_LIFTED]
        return good, bad


def _checked(feature_id: str, detail: Any) -> dict[str, Any]:
    """An answer that is about this very feature and says which vectors it has. Raises `ValueError` for another.

    It would remove the vectors that a destination holds. Null or no vectors is one, since some features have none.
    """
    if not isinstance(detail, dict):
        raise ValueError("not a JSON object")
    if "feature_id" not in detail or "vectors" not in detail:
        raise ValueError("no feature with its vectors")
    if detail["feature_id"] != feature_id:
        raise ValueError("the answer is about another feature")
    return detail


@dataclass(frozen=True, slots=True)
class AssetAnswer:
    """What the service says of a finished asset, and the rows of all its features."""

    description: Mapping[str, Any]
    rows: FeatureRows


async def read_answer(api: MixpeekApi, asset_id: str, budget: AssetBudget) -> AssetAnswer:
    """All pages of an asset's answer.

    Raises `NotFoundError` when there is none, `NotReadyError` when the asset is being processed again,
    `QuarantineError` when it is nested too deeply or is beyond its budget, and `UnreadableError` when anything is
    missing.
    """
    first, pages = await _pages(api, asset_id, budget)
    description = first.description or await _description(api, asset_id)
    _check_owner(api.host, asset_id, description)
    _check_description(description)
    rows = feature_rows(asset_id, [row for page in pages for row in page.rows])
    _check_whole(api.host, pages, rows)
    return AssetAnswer(description, rows)


async def _pages(api: MixpeekApi, asset_id: str, budget: AssetBudget) -> tuple[AssetReply, list[Page]]:
    replies: list[AssetReply] = []

    async def fetch(number: int) -> Page:
        reply = await api.asset_features(asset_id, number, replies[0].page_size if replies else None)
        _check_owner(api.host, asset_id, reply.description or {})
        replies.append(reply)
        return reply.page

    pages: list[Page] = []
    async for page in walk(fetch, _row_identities):
        pages.append(page)
        budget.spend(len(page.rows), sum(vector_count(row) for _, row in page.rows))
    return replies[0], pages


def _row_identities(rows: list[tuple[str, Any]]) -> list[str]:
    return [_row_identity(row) for row in rows]


def _row_identity(row: tuple[str, Any]) -> str:
    """Segments of the October form have no id, and may bring other addresses each time they are asked for."""
    _, content = row
    if isinstance(content, dict) and content.get("feature_id") is None:
        times = [content.get(key) for key in ("start_time", "end_time")]
        if all(isinstance(time, int | float | str) for time in times):
            return str(times)
    (identity,) = _feature_identities([content])
    return identity


async def _description(api: MixpeekApi, asset_id: str) -> Mapping[str, Any]:
    try:
        return await api.asset(asset_id)
    except NotFoundError:
        return {}


def _check_owner(host: str, asset_id: str, description: Mapping[str, Any]) -> None:
    if description.get("asset_id") not in (None, asset_id):
        raise UnreadableError(f"{host} answered for another asset than the one asked for.")


def _check_description(description: Mapping[str, Any]) -> None:
    if is_too_deep(description):
        raise QuarantineError(Reason.MALFORMED, "what the service says of the asset is nested too deeply")
    if state_of(description.get("status")) is not AssetState.READY:
        raise NotReadyError(f"Its status is {one_line(str(description['status']), 60)} by now.")


def _check_whole(host: str, pages: list[Page], rows: FeatureRows) -> None:
    """Rows move between pages when features come or go meanwhile, so that a feature that is there twice may stand in
    the place of one that is not there at all; on a single page it can not."""
    total, sent = pages[0].total, sum(len(page.rows) for page in pages)
    distinct = sent - rows.repeated
    if sum(bool(page.rows) for page in pages) > 1:
        whole = distinct == (sent if total is None else total)
    else:
        whole = total in (None, sent, distinct)
    if not whole:
        announced = "no total" if total is None else f"{total} features"
        raise UnreadableError(
            f"{host} announced {announced} of this asset and sent {distinct}, {rows.repeated} of them more than once."
        )
