"""Moments as TwelveLabs prints and reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from vectorferry.connector.sandbox._twelvelabs._errors import invalid

__all__ = ["later", "moment", "now", "printed"]


def printed(when: datetime, digits: int) -> str:
    """RFC 3339 in UTC with this many digits of the second's fraction."""
    fraction = f".{when.microsecond:06}"[: digits + 1] if digits else ""
    return f"{when:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def moment(name: str, text: str) -> datetime:
    """A moment or a day of the query; raises a `RefusedError` for anything else."""
    try:
        when = datetime.fromisoformat(text)
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (OverflowError, ValueError):
        raise invalid(name, "It must be a date and time in RFC 3339.") from None


def now() -> datetime:
    """The present in whole milliseconds."""
    present = datetime.now(UTC)
    return present.replace(microsecond=present.microsecond // 1000 * 1000)


def later(than: datetime) -> datetime:
    """The present, or a millisecond after `than` when that is not past."""
    return max(now(), than + timedelta(milliseconds=1))
