"""The service's own search: a text against one index, best hits first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from vectorferry.connector._model._errors import QuarantineError
from vectorferry.connector._model._json import parse_json
from vectorferry.connector._model._records import Vector
from vectorferry.connector._model._vectors import decode_vector
from vectorferry.connector._protocols._source import Hit, SourceQuery
from vectorferry.connector.http import ApiClient, one_line, segment

MOST_PER_PAGE: Final = 50
LONGEST_TEXT: Final = 2_000


@dataclass(frozen=True, slots=True)
class _HitPage:
    """One page of hits, and what to ask for the next one with."""

    rows: list[Any]
    token: str | None


class Searcher:
    """Searches over one client."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def search(self, index: str, query: SourceQuery) -> list[Hit]:
        """As `Source.search` says; there are `options`. Rows that name no asset are left out, and after as
        many pages as hits are wanted there is no next one: such rows could go on for ever."""
        page = await self._first(index, query)
        hits = _hits(page.rows, 0)
        for _ in range(query.limit - 1):
            if not page.token or not page.rows or len(hits) >= query.limit:
                break
            page = await self._client.request("GET", f"/search/{segment(page.token)}", kind="search", decode=_read_page)
            hits += _hits(page.rows, len(hits))
        return hits[: query.limit]

    async def embed(self, text: str, model: str) -> Vector:
        """The vector that a model makes of a text, at once."""
        body = {"input_type": "text", "model_name": model, "text": {"input_text": text}}
        return await self._client.request("POST", "/embed-v2", json=body, kind="search", decode=_read_vector)

    async def _first(self, index: str, query: SourceQuery) -> _HitPage:
        size = str(min(query.limit, MOST_PER_PAGE))
        form = [("index_id", index), ("query_text", query.text), ("group_by", "clip"), ("page_limit", size)]
        form += [("search_options", option) for option in query.options]
        if query.filters:
            form.append(("filter", orjson.dumps(dict(query.filters)).decode()))
        return await self._client.request("POST", "/search", form=form, kind="search", decode=_read_page)


def _read_vector(body: bytes) -> Vector:
    """Raises `ValueError` when it is not the vector of one text."""
    answer = parse_json(body)
    rows = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(rows, list) or len(rows) != 1 or not isinstance(rows[0], dict):
        raise ValueError("not one embedding")
    try:
        return decode_vector(rows[0].get("embedding"))
    except QuarantineError as error:
        raise ValueError(f"no vector: {error}") from None


def _read_page(body: bytes) -> _HitPage:
    """Raises `ValueError` when it is no page of hits; a token that cannot be part of an address is none."""
    answer = parse_json(body)
    rows = answer.get("data") if isinstance(answer, dict) else False
    if rows is not None and not isinstance(rows, list):
        raise ValueError("no list of hits")
    counts = answer.get("page_info")
    token = counts.get("next_page_token") if isinstance(counts, dict) else None
    if isinstance(token, str) and token:
        segment(token)
        return _HitPage(rows or [], token)
    return _HitPage(rows or [], None)


def _hits(rows: list[Any], before: int) -> list[Hit]:
    """The service numbers hits itself; older answers, which do not, are numbered by their place."""
    hits: list[Hit] = []
    for row in rows:
        asset_id = row.get("video_id") if isinstance(row, dict) else None
        if isinstance(asset_id, str) and asset_id:
            rank = row.get("rank")
            place = before + len(hits) + 1
            text = row.get("transcription")
            hits.append(
                Hit(
                    asset_id,
                    rank if type(rank) is int and rank > 0 else place,
                    _seconds(row.get("start")),
                    _seconds(row.get("end")),
                    one_line(text, LONGEST_TEXT) if isinstance(text, str) else "",
                )
            )
    return hits


def _seconds(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and 0 <= value < 1e9 else None
