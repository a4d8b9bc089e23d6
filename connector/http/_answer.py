"""What an answer says: what its status means, in which words, how long to wait, and which error that comes to."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus
from typing import Final, NamedTuple, NoReturn, Self
from urllib.parse import urljoin, urlsplit

from vectorferry.connector._model._errors import CredentialsError, LimitReachedError, RetryableError, SourceError
from vectorferry.connector.http._errors import (
    ForbiddenError,
    NotFoundError,
    RefusedError,
    one_line,
    server_code,
    server_message,
)

LONGEST: Final = 31 * 86_400.0
"""Quotas are by the minute, the day or the month: a time further away is cut to this."""

LARGE: Final = 1_000_000
"""Bytes from which on an answer is parsed in a thread, and counts among the few large ones that are read at a time.

Others wait for the loop while it is parsed."""

OK: Final = 200
REMAINING: Final = "x-ratelimit-remaining"

NAMED_TIME: Final = re.compile(
    r"\b(?:after|until|at)\s+(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)?)", re.ASCII
)

STANDARD_WORDS: Final = {status.value: status.phrase for status in HTTPStatus}


class Answer(NamedTuple):
    """What came back. `body` is decompressed and whole; names of `headers` are found in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class AnswerRoom:
    """Bounds the bytes of the answers that are read at the same time: of those that grow large, as many as fit in at
    their largest. One always may."""

    def __init__(self, most: int, largest: int) -> None:
        self._large = asyncio.Semaphore(max(1, most // largest))

    def place(self) -> AnswerPlace:
        """A place for one answer, to be held from its first byte until it has been decoded."""
        return AnswerPlace(self._large)


class AnswerPlace:
    """The place of one answer, for a `with` statement."""

    def __init__(self, large: asyncio.Semaphore) -> None:
        self._large = large
        self._is_large = False

    async def admit(self, size: int) -> None:
        """Wait, when it has grown large, until there is room for that."""
        if size >= LARGE and not self._is_large:
            await self._large.acquire()
            self._is_large = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Give the room to others."""
        if self._is_large:
            self._large.release()


class Meaning(Enum):
    """What a status says, whichever service it comes from: what to do next depends on this alone."""

    SUCCESS = "2xx"
    TRY_AGAIN = "the same request may succeed later"
    BAD_KEY = "nobody knows the key"
    FORBIDDEN = "the key may not do this"
    MISSING = "there is nothing here"
    REDIRECT = "it is elsewhere"
    REFUSED = "the request itself is not accepted"


MEANINGS: Final = {
    206: Meaning.TRY_AGAIN,  # a part of an answer, of which no part was asked for
    401: Meaning.BAD_KEY,
    403: Meaning.FORBIDDEN,
    404: Meaning.MISSING,
    410: Meaning.MISSING,
    408: Meaning.TRY_AGAIN,
    425: Meaning.TRY_AGAIN,
    429: Meaning.TRY_AGAIN,
}


def meaning_of(status: int) -> Meaning:
    """What this status means."""
    if status in MEANINGS:
        return MEANINGS[status]
    if 200 <= status < 300:
        return Meaning.SUCCESS
    if status >= 500:
        return Meaning.TRY_AGAIN
    return Meaning.REDIRECT if 300 <= status < 400 else Meaning.REFUSED


def in_words(answer: Answer, key: str = "") -> str:
    """The status in standard words, and then what the service says, without the key. The reason phrase is the service's
    to choose, and could hold anything."""
    status = f"{answer.status} {STANDARD_WORDS.get(answer.status, '')}".strip()
    words = server_message(answer.body, key).rstrip(".")
    return f"{status}: {words}" if words else status


class Judge:
    """Turns every answer of a source but a success into the error that says what to do next."""

    def __init__(self, base_url: str, host: str, key: str, key_help: str) -> None:
        self._base_url = base_url
        self._host = host
        self._key = key
        self._key_help = key_help

    def check(self, answer: Answer, request: str) -> None:
        """Return for a 2xx. `request` names it: ``GET /collections``.

        Raises `RetryableError`, `CredentialsError`, `ForbiddenError`, `NotFoundError`, `RefusedError` or `SourceError`.
        """
        meaning = meaning_of(answer.status)
        if meaning is not Meaning.SUCCESS:
            self._refuse(answer, meaning, request)

    def _refuse(self, answer: Answer, meaning: Meaning, request: str) -> NoReturn:
        words, host = in_words(answer, self._key), self._host
        match meaning:
            case Meaning.TRY_AGAIN:
                raise RetryableError(words, after=asked_wait(answer) if answer.status == 429 else retry_after(answer))
            case Meaning.BAD_KEY:
                raise CredentialsError(f"{host} refused the key ({words}). {self._key_help}")
            case Meaning.FORBIDDEN:
                raise ForbiddenError(
                    f"{host} does not let this key do {request} ({words}). Give it the right to. {self._key_help}",
                    code=server_code(answer.body),
                )
            case Meaning.MISSING:
                raise NotFoundError(f"{host} has nothing for {request} ({words}).")
            case Meaning.REDIRECT:
                raise SourceError(
                    f"{host} redirects {request} to {self._target(answer)} ({answer.status}); redirects are not "
                    "followed, so that the key goes nowhere else. Set source.base_url to the service's own address."
                )
        raise RefusedError(f"{host} refused {request} ({words}).", status=answer.status, code=server_code(answer.body))

    def _target(self, answer: Answer) -> str:
        try:
            parts = urlsplit(urljoin(self._base_url, answer.headers.get("location", "")))
            host = parts.netloc.rpartition("@")[2] or "nowhere"
        except ValueError:
            host = "an address that is none"
        return one_line(host, 200, key=self._key)


def limit_reached(host: str, words: str, wait: float) -> LimitReachedError:
    """The error for a quota that is used up for so many seconds from now."""
    until = (datetime.now(UTC) + timedelta(seconds=wait, microseconds=999_999)).replace(microsecond=0)
    message = f"{host} takes no more requests until {until:%Y-%m-%d %H:%M:%S} UTC ({words}).\nRun again after that."
    return LimitReachedError(message, until=until)


def asked_wait(answer: Answer) -> float | None:
    """Seconds, 31 days at most, that a 429 asks to wait; None when it does not say.

    ``Retry-After``, or else ``X-Ratelimit-Reset``; and never less than to the time that its message names.
    """
    header = retry_after(answer)
    either = (header if header is not None else _until_reset(answer), _until_named_time(answer))
    waits = [wait for wait in either if wait is not None]
    return min(max(waits), LONGEST) if waits else None


def wait_when_spent(answer: Answer) -> float | None:
    """Seconds until there are requests again, when an answer says that it was the last one for now."""
    return _until_reset(answer) if answer.headers.get(REMAINING, "").strip() == "0" else None


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
    if answer.headers.get(REMAINING, "0").strip() != "0":
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
    return _until(_seconds(moment), answer)


def _until(moment: float | None, answer: Answer) -> float | None:
    return None if moment is None else max(0.0, moment - service_time(answer.headers))


def service_time(headers: Mapping[str, str]) -> float:
    """Seconds since 1970 by the clock of the service, when it sent these headers; by this machine's where none is
    among them."""
    told = _timestamp(headers.get("date", ""))
    return time.time() if told is None else told


def _timestamp(value: str) -> float | None:
    try:
        return _seconds(parsedate_to_datetime(value))
    except (ValueError, OverflowError):
        return None


def _seconds(moment: datetime) -> float:
    """Seconds since 1970 at a moment, in UTC where it names no zone: the one of this machine is no service's."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
