"""Lists that come in numbered pages: walking over all of them, and whether they came whole."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vectorferry.connector._model._errors import IncompleteScanError
from vectorferry.connector._model._json import canonical_json
from vectorferry.connector._model._seen import SeenIds


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; the counts are None when the service does not tell them. `new` says of each row whether it
    was on no page before, where `walk` has looked."""

    rows: list[Any]
    total: int | None
    total_pages: int | None
    new: list[bool] | None = None

    def ends(self, number: int, rows: int) -> bool:
        """Whether nothing follows this page, after so many rows. A service may cap the page size and still count pages
        by the size that was asked for, so both counts have to be reached."""
        if self.total is None and self.total_pages is None:
            return False
        return rows >= (self.total or 0) and number >= (self.total_pages or 0)


def count_in(counts: Mapping[str, Any], key: str) -> int | None:
    """A count, None when it is absent or null. Raises `ValueError` for anything else in its place."""
    value = counts.get(key)
    if value is not None and (type(value) is not int or value < 0):
        raise ValueError(f"{key} is not a count")
    return value


def pagination_in(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The pagination object, empty when there is none. Raises `ValueError` for anything else in its place."""
    pagination = answer.get("pagination")
    if not isinstance(pagination, dict | None):
        raise ValueError("pagination is not an object")
    return pagination or {}


async def walk(
    fetch: Callable[[int], Coroutine[Any, Any, Page]], identities: Callable[[list[Any]], list[str]], width: int = 1
) -> AsyncGenerator[Page, None]:
    """Pages from the first on: until the counts are reached, an empty page (still given out, for its counts), or one
    whose rows were all there before (from a service that does not look at the page number).

    Once a page has said how many there are, `width` of these are asked for at a time, and come out in their order all
    the same. More than one is for a list at whose end everything new comes: then a total that falls, and rows that come
    twice, tell of all that a walk page by page would have told of.
    """
    number, rows = 0, 0
    seen = SeenIds()
    ahead = _PagesAhead(fetch, width)
    try:
        while True:
            number += 1
            page = await ahead.page(number)
            rows += len(page.rows)
            ends = not page.rows or page.ends(number, rows)
            if ends and number == 1:
                yield page  # all rows are new to a walk, and most answers about an asset have one page
                return
            new = seen.add(identities(page.rows))
            if ends or any(new):
                yield replace(page, new=new)
            if ends or not any(new):
                return
    finally:
        await ahead.aclose()


class _PagesAhead:
    """Asks for the pages that are known to follow, a bounded number at a time.

    No page that it gives tells of fewer rows than the one before, unless rows have gone. Then the pages are as if they
    had been read one after the other: rows move forward only, past pages that were read, and where a page with a higher
    number has been read before one with a lower, what moved meanwhile is on both.
    """

    def __init__(self, fetch: Callable[[int], Coroutine[Any, Any, Page]], width: int) -> None:
        self._fetch = fetch
        self._width = width
        self._last = 0
        self._total = 0
        self._asked: deque[asyncio.Task[Page]] = deque()

    async def page(self, number: int) -> Page:
        """The page with this number, which is the one after that before. Raises what asking for it raises."""
        if self._width > 1:
            while len(self._asked) < self._width and number + len(self._asked) <= self._last:
                self._asked.append(asyncio.create_task(self._fetch(number + len(self._asked))))
        page = await (self._asked.popleft() if self._asked else self._fetch(number))
        if self._width > 1 and page.total is not None and page.total < self._total:
            page = await self._fetch(number)  # it may be older than the one before, which has seen more rows come
        self._last, self._total = page.total_pages or 0, page.total or 0
        return page

    async def aclose(self) -> None:
        """Ask for none any more."""
        for task in self._asked:
            task.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)


def identities_by(key: str) -> Callable[[list[Any]], list[str]]:
    """Tells rows apart by the text under this key, or else by everything they hold."""

    def identities(rows: list[Any]) -> list[str]:
        values = [row.get(key) if isinstance(row, dict) else None for row in rows]
        return [
            value if value and isinstance(value, str) else _contents(row)
            for value, row in zip(values, rows, strict=True)
        ]

    return identities


def _contents(row: Any) -> str:
    try:
        return canonical_json(row).decode()
    except ValueError:
        return ""


class Tally:
    """Counts what one walk over a list sees, so that it can tell whether it saw everything.

    `rows` is what the list holds, for messages; `key` is where a row has its id, and where `walk` has looked for one.
    `grows` says that what is new comes at the end of the list: then a total that only ever rises is no sign that rows
    have moved.
    """

    def __init__(self, rows: str, key: str, *, grows: bool = False) -> None:
        self._rows = rows
        self._key = key
        self._grows = grows
        self._seen = SeenIds()
        self._listed = 0
        self._totals: list[int] = []
        self._pages = 0
        self._unusable = 0

    def fresh(self, page: Page) -> list[dict[str, Any]]:
        """The rows of a page whose ids were not there before."""
        self._pages += 1
        if page.total is not None and (page.rows or self._pages == 1):
            self._totals += [] if self._totals[-1:] == [page.total] else [page.total]
        key = self._key
        has_id = [isinstance(row, dict) and type(name := row.get(key)) is str and name != "" for row in page.rows]
        self._unusable += has_id.count(False)
        new = page.new
        if new is None:
            new = self._seen.add([row[self._key] if each else "" for row, each in zip(page.rows, has_id, strict=True)])
        fresh = [row for row, each, first in zip(page.rows, has_id, new, strict=True) if each and first]
        self._listed += len(fresh)
        return fresh

    def check(self) -> None:
        """Raise `IncompleteScanError` for a list that was not complete, or whose length nobody said."""
        if problem := self.problem():
            raise IncompleteScanError(f"the listing was not complete, so nothing is deleted: {problem}")
        if not self._totals:
            raise IncompleteScanError(
                f"the service never says how many {self._rows} there are, so nothing is deleted", unknowable=True
            )

    def problem(self) -> str | None:
        """What shows that the list was not complete; None when nothing does."""
        if self._unusable:
            return f"{self._unusable} rows without a usable {self._key}"
        if len(self._totals) > 1 and not (self._grows and self._totals == sorted(self._totals)):
            return f"the total went from {min(self._totals)} to {max(self._totals)} meanwhile"
        if self._totals and self._totals[-1] != self._listed:
            return f"{self._listed} {self._rows} listed, {self._totals[-1]} announced"
        return None
