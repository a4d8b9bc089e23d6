"""``/search``: the nearest segments of an index, page by page behind tokens."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import groupby
from typing import Any

from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._twelvelabs._context import Context
from vectorferry.connector.sandbox._twelvelabs._errors import invalid
from vectorferry.connector.sandbox._twelvelabs._forms import Form, json_field, read_form, required
from vectorferry.connector.sandbox._twelvelabs._query import flag
from vectorferry.connector.sandbox._twelvelabs._ranking import Hit, ranked
from vectorferry.connector.sandbox._twelvelabs._things import Index, object_id
from vectorferry.connector.sandbox._twelvelabs._times import now

__all__ = ["SearchHandlers"]

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
