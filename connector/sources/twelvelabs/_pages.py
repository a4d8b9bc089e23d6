"""One page of a TwelveLabs list."""

from __future__ import annotations

from vectorferry.connector._json import parse_json
from vectorferry.connector.sources._pages import Page, count_in

__all__ = ["read_page"]


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
