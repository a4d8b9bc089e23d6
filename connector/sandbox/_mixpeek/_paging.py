"""Pages of rows, in the three shapes that Mixpeek documents."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlencode

from vectorferry.connector.sandbox._http import RefusedError, Request

__all__ = ["Page", "page_url", "query_flag", "query_int"]

Row = TypeVar("Row")

_MOST = 1_000_000_000


def query_int(request: Request, name: str, default: int, *, minimum: int = 1, maximum: int | None = None) -> int:
    """A whole number from the query string; a 422 in FastAPI's shape when it is none or out of range."""
    text = request.query.get(name)
    if text is None:
        return default
    try:
        value = int(text)
    except ValueError:
        raise _unprocessable(name, "Input should be a valid integer", "int_parsing") from None
    if value < minimum:
        raise _unprocessable(name, f"Input should be greater than or equal to {minimum}", "greater_than_equal")
    if maximum is not None and value > maximum:
        raise _unprocessable(name, f"Input should be less than or equal to {maximum}", "less_than_equal")
    return value


def query_flag(request: Request, name: str, default: bool = False) -> bool:
    """A yes or no from the query string."""
    text = request.query.get(name)
    return default if text is None else text.lower() in {"true", "1", "yes", "on"}


@dataclass(frozen=True, slots=True)
class Page:
    """Which page of how many rows was asked for."""

    number: int
    size: int

    @classmethod
    def asked(cls, request: Request, cap: int | None, default: int = 10) -> Page:
        """From the query's `page` and `page_size`."""
        size = query_int(request, "page_size", default, maximum=_MOST)
        return cls(query_int(request, "page", 1, maximum=_MOST), min(size, cap or size))

    def rows(self, rows: Collection[Row], shifted: int = 0) -> list[Row]:
        """The rows on this page, `shifted` rows too early."""
        start = max((self.number - 1) * self.size - (shifted if self.number > 1 else 0), 0)
        return list(islice(rows, start, start + self.size))

    def pagination(self, total: int, url: str, *, number_key: str = "page") -> dict[str, Any]:
        """The `pagination` object. `next_page` and `previous_page` are full URLs or null."""
        pages = -(-total // self.size)
        return {
            "total": total,
            number_key: self.number,
            "page_size": self.size,
            "total_pages": pages,
            "next_page": self._link(url, self.number + 1) if self.number < pages else None,
            "previous_page": self._link(url, self.number - 1) if self.number > 1 else None,
        }

    def _link(self, url: str, number: int) -> str:
        return f"{url}?{urlencode({'page': number, 'page_size': self.size})}"


def page_url(request: Request, path: str) -> str:
    """The full URL of `path`, as the client would write it."""
    return f"{request.origin}{request.prefix}{path}"


def _unprocessable(name: str, message: str, kind: str) -> RefusedError:
    details: Sequence[dict[str, Any]] = [{"loc": ["query", name], "msg": message, "type": kind}]
    return RefusedError(422, message, details=details)
