"""What an answer's status means for whoever asked."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, NoReturn
from urllib.parse import urljoin, urlsplit

from connector._errors import CredentialsError, RetryableError, SourceError
from connector.http._errors import NotFoundError, RefusedError
from connector.http._exchange import Answer
from connector.http._text import one_line, server_message

__all__ = ["Judge", "retry_after"]

TRY_AGAIN: Final = frozenset({408, 425, 429})
STANDARD_WORDS: Final = {status.value: status.phrase for status in HTTPStatus}


class Judge:
    """Turns every answer but a success into the error that says what to do next."""

    def __init__(self, base_url: str, host: str, key: str, key_path: str) -> None:
        self._base_url = base_url
        self._host = host
        self._key = key
        self._key_path = key_path

    def check(self, answer: Answer, what: str) -> None:
        """Return for a 2xx. `what` names the request: ``GET /collections``.

        Raises `RetryableError`, `CredentialsError`, `NotFoundError`, `RefusedError` or `SourceError`.
        """
        if not 200 <= answer.status < 300:
            self._refuse(answer, what)

    def _refuse(self, answer: Answer, what: str) -> NoReturn:
        said = self._said(answer)
        status = answer.status
        if status in TRY_AGAIN or status >= 500:
            raise RetryableError(said, after=retry_after(answer))
        if status in (401, 403):
            raise CredentialsError(f"{self._host} refused the key ({said}). Check {self._key_path}.")
        if status in (404, 410):
            raise NotFoundError(f"{self._host} has nothing for {what} ({said}).")
        if 300 <= status < 400:
            raise SourceError(self._redirected(answer, what))
        raise RefusedError(f"{self._host} refused {what} ({said}).", status=status)

    def _said(self, answer: Answer) -> str:
        """The status in standard words: the reason phrase is the service's to choose, and could hold anything."""
        status = f"{answer.status} {STANDARD_WORDS.get(answer.status, '')}".strip()
        words = server_message(answer.body, self._key)
        return f"{status}: {words}" if words else status

    def _redirected(self, answer: Answer, what: str) -> str:
        target = one_line(_host_of(answer.headers.get("location", ""), self._base_url), 200, key=self._key)
        return (
            f"{self._host} redirects {what} to {target} ({answer.status}); redirects are not followed, so that the key "
            "goes nowhere else. Set source.base_url to the service's own address."
        )


def _host_of(location: str, base_url: str) -> str:
    try:
        return urlsplit(urljoin(base_url, location)).netloc.rpartition("@")[2] or "nowhere"
    except ValueError:
        return "an address that is none"


def retry_after(answer: Answer) -> float | None:
    """Seconds the service asks to wait: a number, or a date compared with the service's own clock if it shows one."""
    value = answer.headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    until, now = _timestamp(value), _timestamp(answer.headers.get("date", ""))
    return None if until is None else max(0.0, until - (time.time() if now is None else now))


def _timestamp(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
