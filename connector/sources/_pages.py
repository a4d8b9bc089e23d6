"""Lists that come in numbered pages: walking over all of them, and what their rows have in common."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from vectorferry.connector._model._errors import IncompleteScanError
from vectorferry.connector._model._json import canonical_json
from vectorferry.connector._model._seen import SeenIds
from vectorferry.connector._protocols._source import Usage
from vectorferry.connector.http import ApiClient

__all__ = [
    "Page",
    "ServiceApi",
    "Tally",
    "check_complete",
    "count_in",
    "identity_by",
    "is_signed",
    "lasting",
    "read_time",
    "walk",
    "without_signatures",
]


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


# Whether a list was walked over completely. Pure.


class Tally:
    """Counts what one walk over a list sees, so that it can tell whether it saw everything.

    `rows` is what the list holds, for messages; `key` is where a row has its id. `grows` says that what is new comes at
    the end of the list: then a total that only ever rises is no sign that rows have moved.
    """

    def __init__(self, rows: str, key: str, *, grows: bool = False) -> None:
        self._rows = rows
        self._key = key
        self._grows = grows
        self._seen = SeenIds()
        self._totals: list[int] = []
        self._pages = 0
        self._unusable = 0

    def fresh(self, page: Page) -> list[dict[str, Any]]:
        """The rows of a page whose ids were not there before."""
        self._pages += 1
        if page.total is not None and (page.rows or self._pages == 1):
            self._totals += [] if self._totals[-1:] == [page.total] else [page.total]
        usable = [row for row in page.rows if self._has_id(row)]
        self._unusable += len(page.rows) - len(usable)
        news = self._seen.add([row[self._key] for row in usable])
        return [row for row, new in zip(usable, news, strict=True) if new]

    @property
    def knows_total(self) -> bool:
        """Whether the service announced how many rows there are."""
        return bool(self._totals)

    def problem(self) -> str | None:
        """What shows that the list was not complete; None when nothing does."""
        if self._unusable:
            return f"{self._unusable} rows without a usable {self._key}"
        if len(self._totals) > 1 and not (self._grows and self._totals == sorted(self._totals)):
            return f"the total went from {min(self._totals)} to {max(self._totals)} meanwhile"
        if self._totals and self._totals[-1] != len(self._seen):
            return f"{len(self._seen)} {self._rows} listed, {self._totals[-1]} announced"
        return None

    def _has_id(self, row: Any) -> bool:
        return isinstance(row, dict) and isinstance(row.get(self._key), str) and row[self._key] != ""


def check_complete(problem: str | None, *, knows_total: bool) -> None:
    """Raises `IncompleteScanError` for a list of assets that had this problem, or whose length nobody said."""
    if problem:
        raise IncompleteScanError(f"the listing was not complete, so nothing is deleted: {problem}")
    if not knows_total:
        raise IncompleteScanError(
            "the service never says how many assets there are, so nothing is deleted", unknowable=True
        )


# Times as services write them.


def read_time(value: Any) -> datetime | None:
    """An ISO 8601 time, aware and in UTC; one without a zone is taken as UTC. None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


# Presigned addresses: the same object under another signature is no change.


SIGNED: Final = re.compile(
    r"^https?://[^?#\s]+\?(?:[^#]*&)?(?:x-amz-signature|x-goog-signature|signature|sig|expires)=", re.IGNORECASE
)


def is_signed(value: Any) -> bool:
    """Whether this is an address that stops working after a while."""
    return isinstance(value, str) and SIGNED.match(value) is not None


def lasting(value: Any) -> Any:
    """A JSON value without the presigned addresses in it."""
    if isinstance(value, dict):
        return {key: lasting(item) for key, item in value.items() if not is_signed(item)}
    if isinstance(value, list):
        return [lasting(item) for item in value if not is_signed(item)]
    return value


def without_signatures(value: Any) -> Any:
    """A JSON value with the query cut off every presigned address in it."""
    if isinstance(value, dict):
        return {key: without_signatures(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_signatures(item) for item in value]
    return value.partition("?")[0] if is_signed(value) else value


# What the API of every service over HTTP has, whatever its paths are.


class ServiceApi:
    """Owns the client that a service is asked through."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    @property
    def host(self) -> str:
        """The service's host, for messages."""
        return self._client.host

    @property
    def usage(self) -> Usage:
        """What the requests have cost so far."""
        return self._client.usage

    def identity(self, service: str) -> dict[str, str]:
        """Who asks, as far as it is known without asking."""
        return self._client.identity(service)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()
