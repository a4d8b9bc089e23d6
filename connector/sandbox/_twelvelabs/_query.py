"""Parameters of a request, however they are spelled."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from urllib.parse import parse_qsl

from vectorferry.connector.sandbox._http import Request
from vectorferry.connector.sandbox._twelvelabs._errors import invalid
from vectorferry.connector.sandbox._twelvelabs._times import moment

__all__ = ["flag", "on_or_after", "values", "whole_number", "within"]


def values(request: Request, name: str) -> list[str]:
    """Every value of a parameter, repeated or in a comma list."""
    given = [value for key, value in parse_qsl(request.raw_query) if key == name]
    return [part for value in given for part in value.split(",") if part]


def flag(request: Request, name: str) -> bool:
    """A parameter that is true or not there."""
    return request.query.get(name, "").lower() == "true"


def whole_number(request: Request, name: str, default: int) -> int:
    """A number from 1 on; raises a `RefusedError` for anything else."""
    text = request.query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or not text.isascii() or not 0 < int(text[:12]) < 10**9:
        raise invalid(name, "It must be a positive integer.")
    return int(text)


def on_or_after(request: Request, name: str, when: datetime | None, rule: str) -> bool:
    """Whether a time is at or after the one that a parameter names and, with ``same_day``, on the same day."""
    text = request.query.get(name)
    if text is None:
        return True
    wanted = moment(name, text)
    return when is not None and when >= wanted and (rule == "since" or when.date() == wanted.date())


def within(request: Request, name: str, value: object) -> bool:
    """Whether a number is exactly the one asked for, or in the range of ``name[gte]`` and ``name[lte]``."""
    bounds = _bounds(request.query, name)
    if not bounds:
        return True
    if not isinstance(value, int | float):
        return False
    exact, least, most = (bounds.get(kind) for kind in ("", "[gte]", "[lte]"))
    return (exact is None or value == exact) and (least is None or value >= least) and (most is None or value <= most)


def _bounds(query: Mapping[str, str], name: str) -> dict[str, float]:
    found = {kind: query[f"{name}{kind}"] for kind in ("", "[gte]", "[lte]") if f"{name}{kind}" in query}
    try:
        return {kind: float(text) for kind, text in found.items()}
    except ValueError:
        raise invalid(name, "It must be a number.") from None
