"""Mixpeek's page/page_size lists: reading one page, and walking over all of them. `next_page` is never followed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from connector._json import parse_json

__all__ = ["Page", "count_in", "pagination_in", "read_page", "value_of", "walk"]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; the counts are None when the service does not tell them."""

    rows: list[Any]
    total: int | None
    total_pages: int | None

    def ends(self, number: int, seen: int) -> bool:
        """Whether nothing follows this page, after `seen` rows. A service may cap the page size and still count pages
        by the size that was asked for, so both counts have to be reached."""
        if self.total is None and self.total_pages is None:
            return False
        return seen >= (self.total or 0) and number >= (self.total_pages or 0)


def read_page(body: bytes) -> Page:
    """A page from an answer. Raises `ValueError` when there are no `results`."""
    answer = parse_json(body)
    if not isinstance(answer, dict) or not isinstance(answer.get("results"), list):
        raise ValueError("no list of results")
    pagination = pagination_in(answer)
    return Page(answer["results"], count_in(pagination, "total"), count_in(pagination, "total_pages"))


def pagination_in(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The pagination object, empty when there is none. Raises `ValueError` for anything else in its place."""
    pagination = answer.get("pagination")
    if not isinstance(pagination, dict | None):
        raise ValueError("pagination is not an object")
    return pagination or {}


def count_in(pagination: Mapping[str, Any], key: str) -> int | None:
    """A count, None when it is absent or null. Raises `ValueError` for anything else in its place."""
    value = pagination.get(key)
    if value is not None and (type(value) is not int or value < 0):
        raise ValueError(f"{key} is not a count")
    return value


async def walk(fetch: Callable[[int], Awaitable[Page]], identity: Callable[[Any], Any]) -> AsyncIterator[Page]:
    """Pages from the first on: until the counts are reached, an empty page (still given out, for its counts), or the
    same rows again (from a service that does not look at the page number)."""
    number, seen = 1, 0
    before: list[Any] = []
    while True:
        page = await fetch(number)
        identities = [identity(row) for row in page.rows]
        if identities and identities == before:
            return
        yield page
        seen += len(identities)
        if not identities or page.ends(number, seen):
            return
        number, before = number + 1, identities


def value_of(key: str) -> Callable[[Any], Any]:
    """Reads one key of a row, None when the row is not an object."""
    return lambda row: row.get(key) if isinstance(row, dict) else None
