"""From when to when, in seconds. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor
from typing import Any, Final, NamedTuple

from vectorferry.connector._errors import QuarantineError
from vectorferry.connector._records import Reason

__all__ = ["Span", "milliseconds", "span_in"]

LONGEST: Final = 1e9
"""Thirty years; NaN is not below it either."""


BELOW: Final = 0.382
"""How much less than a whole millisecond still counts as it."""


class Span(NamedTuple):
    """Seconds from the beginning of the file."""

    start: float
    end: float


def span_in(row: Mapping[str, Any], start: str, end: str) -> Span:
    """The span under these two keys. Raises `QuarantineError` when either is no number of seconds."""
    return Span(_seconds(row, start), _seconds(row, end))


def milliseconds(seconds: float) -> int:
    """What ids are made of: printed fractions may differ in their last digits. So the border between two milliseconds
    is none of the halves, thirds and tenths that the times of frames often are, to be printed now above it, now below.
    """
    return floor(seconds * 1000 + BELOW)


def _seconds(row: Mapping[str, Any], key: str) -> float:
    value = row.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LONGEST:
        return float(value)
    raise QuarantineError(Reason.MALFORMED, f"no usable {key}")
