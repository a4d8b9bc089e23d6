"""Pages of sorted names with opaque tokens."""

from __future__ import annotations

import binascii
from base64 import b64decode, urlsafe_b64encode
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import islice, takewhile

from vectorferry.connector.sandbox._http import RefusedError

__all__ = ["page_of", "page_size", "pagination"]


def page_size(text: str | None, most: int = 100) -> int:
    """A page's `limit` from a query string; as many as allowed when it is absent."""
    if text is None:
        return most
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise RefusedError(400, f"limit must be a whole number from 1 to {most}, got {text[:20]!r}")
    return int(text)


def page_of(names: Sequence[str], prefix: str, size: int, token: str | None) -> tuple[list[str], str | None]:
    """The names that start with `prefix` and come after those of the page before, and the next page's token."""
    start = bisect_left(names, prefix) if token is None else bisect_right(names, _last_name(token))
    rest = (names[place] for place in range(start, len(names)))
    found = list(islice(takewhile(lambda name: name.startswith(prefix), rest), size + 1))
    if len(found) <= size:
        return found, None
    return found[:size], urlsafe_b64encode(found[size - 1].encode()).decode()


def pagination(token: str | None) -> Mapping[str, Mapping[str, str]]:
    """The `pagination` object to put into an answer; the last page has none."""
    return {} if token is None else {"pagination": {"next": token}}


def _last_name(token: str) -> str:
    try:
        return b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, UnicodeError):
        raise RefusedError(400, "Invalid pagination token") from None
