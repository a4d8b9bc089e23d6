"""An asset's own answer, read as a whole or not at all: a part of it would remove the rest from a destination."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vectorferry.connector._errors import QuarantineError
from vectorferry.connector._json import is_too_deep
from vectorferry.connector._records import AssetState, Reason
from vectorferry.connector.http import NotFoundError, UnreadableError, one_line
from vectorferry.connector.sources._pages import Page, identity_by, walk
from vectorferry.connector.sources._reading import NotReadyError
from vectorferry.connector.sources.mixpeek._api import MixpeekApi
from vectorferry.connector.sources.mixpeek._asset_reply import AssetReply
from vectorferry.connector.sources.mixpeek._features import FeatureRows, feature_rows
from vectorferry.connector.sources.mixpeek._listing import state_of

__all__ = ["AssetAnswer", "read_answer"]

_feature_identity = identity_by("feature_id")


@dataclass(frozen=True, slots=True)
class AssetAnswer:
    """What the service says of a finished asset, and the rows of all its features."""

    description: Mapping[str, Any]
    rows: FeatureRows


async def read_answer(api: MixpeekApi, asset_id: str) -> AssetAnswer:
    """All pages of an asset's answer.

    Raises `NotFoundError` when there is none, `NotReadyError` when the asset is being processed again,
    `QuarantineError` when it is nested too deeply, and `UnreadableError` when anything is missing.
    """
    first, pages = await _pages(api, asset_id)
    description = first.description or await _description(api, asset_id)
    _check_description(api.host, asset_id, description)
    rows = feature_rows(asset_id, [row for page in pages for row in page.rows])
    _check_whole(api.host, pages, rows)
    return AssetAnswer(description, rows)


async def _pages(api: MixpeekApi, asset_id: str) -> tuple[AssetReply, list[Page]]:
    replies: list[AssetReply] = []

    async def fetch(number: int) -> Page:
        replies.append(await api.asset_features(asset_id, number, replies[0].page_size if replies else None))
        return replies[-1].page

    pages = [page async for page in walk(fetch, _row_identity)]
    return replies[0], pages


def _row_identity(row: tuple[str, Any]) -> str:
    """Segments of the October form have no id, and may bring other addresses each time they are asked for."""
    _, content = row
    if isinstance(content, dict) and content.get("feature_id") is None:
        times = [content.get(key) for key in ("start_time", "end_time")]
        if all(isinstance(time, int | float | str) for time in times):
            return str(times)
    return _feature_identity(content)


async def _description(api: MixpeekApi, asset_id: str) -> Mapping[str, Any]:
    try:
        return await api.asset(asset_id)
    except NotFoundError:
        return {}


def _check_description(host: str, asset_id: str, description: Mapping[str, Any]) -> None:
    if description.get("asset_id") not in (None, asset_id):
        raise UnreadableError(f"{host} answered for another asset than the one asked for.")
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
