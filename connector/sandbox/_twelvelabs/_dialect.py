"""TwelveLabs' own words: refusals, and moments as it prints and reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from vectorferry.connector.sandbox._http import RefusedError

__all__ = [
    "error_body",
    "invalid",
    "later",
    "missing",
    "moment",
    "now",
    "printed",
]


_CODES = {
    400: "parameter_invalid",
    401: "api_key_invalid",
    403: "read_not_allowed",
    404: "resource_not_exist",
    405: "method_not_allowed",
    429: "too_many_requests",
}


def error_body(refusal: RefusedError, style: str = "flat") -> dict[str, Any]:
    """The flat body that most endpoints answer with, or the envelope of embed-v2, whose codes are in capitals."""
    code = refusal.kind or _CODES.get(refusal.status, "internal_server_error")
    if style == "envelope" or code.isupper():
        return {"error": {"code": code.upper(), "message": refusal.message, "details": refusal.details or {}}}
    return {"code": code, "message": refusal.message}


def invalid(name: str, problem: str) -> RefusedError:
    """A parameter has a value that it cannot have."""
    return RefusedError(400, f"The {name} parameter is invalid. {problem}", kind="parameter_invalid")


def missing(what: str, name: str, rule: str, declared: int) -> RefusedError:
    """There is no such thing; `rule` says under which status, ``declared`` as the documents have it."""
    status = declared if rule == "declared" else int(rule)
    if status == 403:
        return RefusedError(403, f"You are not authorized to read entity {name}", kind="read_not_allowed")
    message = f"Resource with id {name} does not exist in {what}"
    return RefusedError(status, message, kind="resource_not_exist")


# Moments as TwelveLabs prints and reads them.


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
