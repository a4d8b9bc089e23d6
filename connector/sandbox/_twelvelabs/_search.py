"""``/search``: the nearest segments of an index, page by page behind tokens."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import groupby
from typing import Any, Final

import numpy as np

from vectorferry.connector.sandbox._embedding import embed_in
from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._twelvelabs._account import Index, IndexedAsset, object_id
from vectorferry.connector.sandbox._twelvelabs._dialect import invalid, now
from vectorferry.connector.sandbox._twelvelabs._requests import Context, Form, flag, json_field, read_form, required

__all__ = ["SearchHandlers"]


_NEAR: Final = 0.15
"""What is further away than this is not found."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A segment that was found; the first has rank 1."""

    asset: IndexedAsset
    start: float
    end: float
    rank: int


def ranked(
    index: Index, text: str, options: Sequence[str], conditions: Mapping[str, Any], *, every_option: bool
) -> list[Hit]:
    """The segments that are near, the nearest first, each stretch of time once."""
    best: dict[tuple[str, float, float], tuple[float, IndexedAsset]] = {}
    for score, asset, span in _scored(index, text, options, conditions, every_option):
        key = (asset.indexed_asset_id, *span)
        if score > _NEAR and score > best.get(key, (0.0, asset))[0]:
            best[key] = score, asset
    ordered = sorted(best.items(), key=lambda one: (-one[1][0], one[0]))
    return [Hit(asset, key[1], key[2], rank) for rank, (key, (_, asset)) in enumerate(ordered, 1)]


def _scored(
    index: Index, text: str, options: Sequence[str], conditions: Mapping[str, Any], every_option: bool
) -> Iterator[tuple[float, IndexedAsset, tuple[float, float]]]:
    wanted = embed_in(text, index.model_name, index.dimension)
    for asset in index.assets.values():
        there = {segment.option for segment in asset.segments}
        if asset.status != "ready" or not _fits(asset, conditions) or (every_option and not there >= set(options)):
            continue
        for segment in asset.segments:
            vector = segment.vector.dense() if segment.option in options else None
            if vector is not None and vector.shape == wanted.shape:
                yield float(np.dot(vector, wanted)), asset, (segment.start, segment.end)


def _fits(asset: IndexedAsset, conditions: Mapping[str, Any]) -> bool:
    known = {**asset.user_metadata, **asset.system_metadata, "id": asset.indexed_asset_id}
    return all(_holds(known.get(name), wanted) for name, wanted in conditions.items())


def _holds(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        least, most = wanted.get("gte", -np.inf), wanted.get("lte", np.inf)
        if not isinstance(least, int | float) or not isinstance(most, int | float):
            raise invalid("filter", "gte and lte must be numbers.")
        return isinstance(value, int | float) and least <= value <= most
    return value in wanted if isinstance(wanted, list) else bool(value == wanted)


# ``/search``: the nearest segments of an index, page by page behind tokens.


_TOKENS = 1_000


_OPTIONS = {"visual", "audio", "transcription"}


@dataclass(frozen=True, slots=True)
class _Found:
    index: Index
    rows: Sequence[dict[str, Any]]
    total: int
    metadata: dict[str, dict[str, Any]]
    limit: int
    start: int = 0


class SearchHandlers:
    """Search by text; a picture is searched for by the words of its address."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._pages: OrderedDict[str, _Found] = OrderedDict()

    def routes(self) -> list[Route]:
        """Both routes."""
        return [
            Route("twelvelabs.search.create", "POST", "/search", self.create),
            Route("twelvelabs.search.get", "GET", "/search/{page_token}", self.get),
        ]

    def create(self, request: Request) -> Reply:
        """The first page of a search."""
        form = read_form(request)
        options = form.get("search_options", [])
        if not options or not set(options) <= _OPTIONS:
            raise invalid("search_options", f"It must be one or more of {', '.join(sorted(_OPTIONS))}.")
        index = self._context.index(required(form, "index_id"))
        both = form.get("operator") == ["and"]
        hits = ranked(index, self._words(form), options, json_field(form, "filter"), every_option=both)
        found = _Found(
            index,
            self._grouped(hits) if form.get("group_by") == ["video"] else [self._shown(hit) for hit in hits],
            len(hits),
            {hit.asset.indexed_asset_id: hit.asset.user_metadata for hit in hits},
            self._limit(form),
        )
        return self._page(found, with_metadata=form.get("include_user_metadata") == ["true"])

    def get(self, request: Request) -> Reply:
        """The page that a token stands for."""
        found = self._pages.get(request.params[0])
        if found is None:
            raise RefusedError(400, "The page token has expired.", kind="search_page_token_expired")
        return self._page(found, with_metadata=flag(request, "include_user_metadata"))

    def _words(self, form: Form) -> str:
        words = form["query_text"][0] if "query_text" in form else required(form, "query_media_url")
        for collection in self._context.account.entity_collections.values():
            for entity in collection.entities.values():
                words = words.replace(f"<@{entity.entity_id}>", entity.name)
        return words

    def _limit(self, form: Form) -> int:
        text = form.get("page_limit", ["10"])[0]
        if not text.isdecimal() or not 0 < int(text) <= self._context.dialect.largest_page:
            raise invalid("page_limit", f"It must be from 1 to {self._context.dialect.largest_page}.")
        return int(text)

    def _page(self, found: _Found, *, with_metadata: bool) -> Reply:
        rows = found.rows[found.start : found.start + found.limit]
        if with_metadata:
            rows = [{**row, "user_metadata": found.metadata[row.get("video_id") or row["id"]]} for row in rows]
        index = found.index
        seconds = sum(one.system_metadata.get("duration") or 0 for one in index.assets.values())
        pool = {"total_count": len(index.assets), "total_duration": seconds, "index_id": index.index_id}
        info = {"limit_per_page": found.limit, "total_results": found.total, **self._next(found)}
        return json_reply({"search_pool": pool, "data": rows, "page_info": info})

    def _next(self, found: _Found) -> dict[str, str]:
        following = replace(found, start=found.start + found.limit)
        if following.start >= len(found.rows):
            return {}
        token = object_id("page", len(self._pages), now(), following.start)
        self._pages[token] = following
        if len(self._pages) > _TOKENS:
            self._pages.popitem(last=False)
        return {"next_page_token": token, "page_expires_at": self._context.time(now() + timedelta(minutes=10))}

    def _grouped(self, hits: Sequence[Hit]) -> list[dict[str, Any]]:
        order = {hit.asset.indexed_asset_id: hit.rank for hit in reversed(hits)}
        together = sorted(hits, key=lambda hit: (order[hit.asset.indexed_asset_id], hit.rank))
        groups = groupby(together, key=lambda hit: hit.asset.indexed_asset_id)
        return [{"id": video_id, "clips": [self._shown(hit) for hit in clips]} for video_id, clips in groups]

    def _shown(self, hit: Hit) -> dict[str, Any]:
        said = " ".join(one.value for one in hit.asset.spoken if one.start < hit.end and one.end > hit.start)
        shown = {
            "start": hit.start,
            "end": hit.end,
            "video_id": hit.asset.indexed_asset_id,
            "rank": hit.rank,
            "thumbnail_url": self._context.signed(f"https://media.example.com/{hit.asset.indexed_asset_id}.jpg"),
        }
        return {**shown, "transcription": said} if said else shown
