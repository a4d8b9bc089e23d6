"""Pages of rows with `page_info`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from vectorferry.connector.sandbox._http import Reply, Request, json_reply
from vectorferry.connector.sandbox._settings import TwelveLabsDialect
from vectorferry.connector.sandbox._twelvelabs._errors import invalid
from vectorferry.connector.sandbox._twelvelabs._query import whole_number

__all__ = ["Page", "by_either_time", "by_time", "listed"]

Row = TypeVar("Row")
TimedRow = TypeVar("TimedRow", bound="Timed")


@dataclass(frozen=True, slots=True)
class Page:
    """Which page of how many rows was asked for."""

    number: int
    limit: int

    @classmethod
    def asked(cls, request: Request, dialect: TwelveLabsDialect) -> Page:
        """From `page` and `page_limit`; raises a `RefusedError` for a page that is too large."""
        number, limit = whole_number(request, "page", 1), whole_number(request, "page_limit", 10)
        if limit > dialect.largest_page and dialect.larger_pages == "refused":
            raise invalid("page_limit", f"It must be at most {dialect.largest_page}.")
        return cls(number, min(limit, dialect.largest_page))

    def rows(self, rows: Sequence[Row], shifted: int) -> Sequence[Row]:
        """The rows on this page, `shifted` rows too early; none beyond the last page."""
        start = max((self.number - 1) * self.limit - (shifted if self.number > 1 else 0), 0)
        return rows[start : start + self.limit]

    def info(self, total: int) -> dict[str, int]:
        """The `page_info` object: no rows are no page."""
        return {
            "limit_per_page": self.limit,
            "page": self.number,
            "total_page": -(-total // self.limit),
            "total_results": total,
        }


def listed(
    request: Request, dialect: TwelveLabsDialect, rows: Sequence[Row], show: Callable[[Row], dict[str, Any]]
) -> Reply:
    """One page of `rows`; beyond the last one there is a page without rows."""
    page = Page.asked(request, dialect)
    data = [show(row) for row in page.rows(rows, request.shifted_rows)]
    shown = None if dialect.null_data and not data else data
    return json_reply({"data": shown, "page_info": page.info(len(rows))})


class Timed(Protocol):
    """Something that was made and changed."""

    created_at: datetime
    updated_at: datetime


def by_either_time(request: Request, rows: Iterable[TimedRow]) -> list[TimedRow]:
    """Sorted by `created_at`, or as `by_time` has it."""
    return by_time(request, rows, {"created_at": lambda one: one.created_at, "updated_at": lambda one: one.updated_at})


def by_time(request: Request, rows: Iterable[Row], keys: dict[str, Callable[[Row], datetime | str]]) -> list[Row]:
    """Sorted by `sort_by`, one of `keys` (the first by default), newest first unless `sort_option` is ``asc``."""
    name = request.query.get("sort_by", next(iter(keys)))
    if name not in keys:
        raise invalid("sort_by", f"It must be one of {', '.join(keys)}.")
    way = request.query.get("sort_option", "desc")
    if way not in {"asc", "desc"}:
        raise invalid("sort_option", "It must be asc or desc.")
    return sorted(rows, key=keys[name], reverse=way == "desc")
