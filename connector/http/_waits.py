"""How long a service asks to be left alone: its headers and its words, read against its own clock.

TwelveLabs sends ``X-Ratelimit-Remaining`` and ``-Reset`` (UTC epoch seconds) and no ``Retry-After``; a daily cap has
been seen to say "Please try again later after 2025-12-20T00:02:50Z" in its message and nothing in headers.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from vectorferry.connector.http._exchange import Answer
from vectorferry.connector.http._text import server_message

__all__ = ["asked_wait", "retry_after", "wait_when_spent"]

LONGEST: Final = 31 * 86_400.0
"""Quotas are by the minute, the day or the month: a time further away is cut to this."""

NAMED_TIME: Final = re.compile(
    r"\b(?:after|until|at)\s+(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)?)", re.ASCII
)


def asked_wait(answer: Answer) -> float | None:
    """Seconds, 31 days at most, that a 429 asks to wait; None when it does not say.

    ``Retry-After``, or else ``X-Ratelimit-Reset``; and never less than to the time that its message names.
    """
    header = retry_after(answer)
    known = [header if header is not None else _until_reset(answer), _until_named_time(answer)]
    waits = [wait for wait in known if wait is not None]
    return min(max(waits), LONGEST) if waits else None


def wait_when_spent(answer: Answer) -> float | None:
    """Seconds until there are requests again, when an answer says that it was the last one for now."""
    return _until_reset(answer) if answer.headers.get("x-ratelimit-remaining", "").strip() == "0" else None


def retry_after(answer: Answer) -> float | None:
    """Seconds the service asks to wait: a number, or a date compared with the service's own clock if it shows one."""
    value = answer.headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        return _until(_timestamp(value), answer)


def _until_reset(answer: Answer) -> float | None:
    """A reset beside requests that are left is that of another quota than the one that is used up."""
    if answer.headers.get("x-ratelimit-remaining", "0").strip() != "0":
        return None
    try:
        return _until(float(answer.headers.get("x-ratelimit-reset", "")), answer)
    except ValueError:
        return None


def _until_named_time(answer: Answer) -> float | None:
    named = NAMED_TIME.search(server_message(answer.body))
    try:
        moment = datetime.fromisoformat(named[1]) if named else None
    except ValueError:
        return None
    if moment is None:
        return None
    return _until((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), answer)


def _until(moment: float | None, answer: Answer) -> float | None:
    now = _timestamp(answer.headers.get("date", ""))
    return None if moment is None else max(0.0, moment - (time.time() if now is None else now))


def _timestamp(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
