"""From what a source said to a typed column: a dotted path to look at, and a value of the column's type. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from vectorferry.connector._json import canonical_json
from vectorferry.connector._mapping import ColumnType

__all__ = ["as_utc", "coerce", "look_up", "short"]


def look_up(fields: Mapping[str, Any], path: Sequence[str]) -> Any:
    """What stands at `path`, or None. A part made of digits is an index where it meets a list."""
    value: Any = fields
    for part in path:
        value = _step(value, part)
        if value is None:
            return None
    return value


def _step(value: Any, part: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, list | tuple) and part.isascii() and part.isdigit():
        index = int(part)
        return value[index] if index < len(value) else None
    return None


def coerce(value: Any, kind: ColumnType) -> Any:
    """`value` as the Python value of a column of type `kind`; None stays None. Raises `ValueError` if it does not fit.

    Only conversions that lose nothing are made: numbers, booleans and JSON become text, an integral float becomes
    an integer, an ISO 8601 text becomes an aware datetime in UTC (without an offset it is taken as UTC).
    """
    if value is None:
        return None
    try:
        return COERCIONS[kind](value)
    except (OverflowError, TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def as_utc(moment: datetime) -> datetime:
    """The same moment in UTC; one without an offset is taken as UTC. Raises `OverflowError` at the calendar's ends."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def short(value: Any) -> str:
    """A few words for an error message about a value of any size."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, str):
        shown = repr(value[:60])
        return shown if len(shown) <= 60 else shown[:59] + "…"
    if isinstance(value, int) and value.bit_length() > 100:
        return "a very large number"
    return repr(value)[:60] if isinstance(value, int | float | datetime) else f"a value of type {type(value).__name__}"


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case datetime():
            return value.isoformat()
    return canonical_json(value).decode()


def _integer(bits: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError("not a number")
        number = int(value)
        if number != value or not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
            raise ValueError("out of range")
        return number

    return convert


def _double(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("not a boolean")
    return value


def _timestamp(value: Any) -> datetime:
    if isinstance(value, datetime):
        return as_utc(value)
    if not isinstance(value, str):
        raise TypeError("not a text")
    return as_utc(datetime.fromisoformat(value.strip()))


COERCIONS: Final[Mapping[ColumnType, Callable[[Any], Any]]] = {
    "text": _text,
    "integer": _integer(32),
    "bigint": _integer(64),
    "double precision": _double,
    "boolean": _boolean,
    "timestamptz": _timestamp,
    "jsonb": lambda value: value,
}
