"""Whether a list was walked over completely. Pure."""

from __future__ import annotations

from typing import Any

from vectorferry.connector._errors import IncompleteScanError
from vectorferry.connector._seen import SeenIds
from vectorferry.connector.sources._pages import Page

__all__ = ["Tally", "check_complete"]


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
