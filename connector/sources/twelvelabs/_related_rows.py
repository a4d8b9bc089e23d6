"""From the rows of a list to the rows of a table without vectors. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vectorferry.connector._errors import IncompleteScanError
from vectorferry.connector._json import is_too_deep
from vectorferry.connector.sources._signed import lasting
from vectorferry.connector.sources._tally import Tally

__all__ = ["check_depth", "check_listed", "with_rest"]


def with_rest(fields: Mapping[str, Any], row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The columns, and in `extra` whatever else the service said, a value that fits no column included."""
    rest = {key: value for key, value in row.items() if key != "_id" and value is not None and not fields.get(key)}
    return {**fields, "extra": lasting({key: value for key, value in rest.items() if value not in ("", [], {})})}


def check_depth(row: Mapping[str, Any], what: str) -> None:
    """Raise `IncompleteScanError` for a row that no table can hold."""
    if is_too_deep(row):
        raise IncompleteScanError(f"one of the {what} is nested too deeply, so nothing is deleted")


def check_listed(tally: Tally, what: str) -> None:
    """Raise `IncompleteScanError` unless the list is known to be whole."""
    if problem := tally.problem():
        raise IncompleteScanError(f"the list was not complete, so nothing is deleted: {problem}")
    if not tally.knows_total:
        raise IncompleteScanError(
            f"the service never says how many {what} there are, so nothing is deleted", unknowable=True
        )
