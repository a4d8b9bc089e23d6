"""Lists that come in numbered pages: what a page says, and walking over all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vectorferry.connector._json import canonical_json
from vectorferry.connector._seen import SeenIds

__all__ = ["Page", "count_in", "identity_by", "walk"]


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


def count_in(counts: Mapping[str, Any], key: str) -> int | None:
    """A count, None when it is absent or null. Raises `ValueError` for anything else in its place."""
    value = counts.get(key)
    if value is not None and (type(value) is not int or value < 0):
        raise ValueError(f"{key} is not a count")
    return value


async def walk(fetch: Callable[[int], Awaitable[Page]], identity: Callable[[Any], str]) -> AsyncIterator[Page]:
    """Pages from the first on: until the counts are reached, an empty page (still given out, for its counts), or one
    whose rows were all there before (from a service that does not look at the page number)."""
    number, rows = 0, 0
    seen = SeenIds()
    while True:
        number += 1
        page = await fetch(number)
        rows += len(page.rows)
        if not page.rows or page.ends(number, rows):
            yield page
            return
        if not any(seen.add([identity(row) for row in page.rows])):
            return
        yield page


def identity_by(*keys: str) -> Callable[[Any], str]:
    """Tells rows apart by the first of these keys that holds text, or else by everything they hold."""

    def identity(row: Any) -> str:
        named = (row.get(key) for key in keys) if isinstance(row, dict) else ()
        return next((value for value in named if isinstance(value, str)), None) or _contents(row)

    return identity


def _contents(row: Any) -> str:
    try:
        return canonical_json(row).decode()
    except ValueError:
        return ""
