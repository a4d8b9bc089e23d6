"""What an answer's status means for whoever asked."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, NoReturn
from urllib.parse import urljoin, urlsplit

from vectorferry.connector._errors import CredentialsError, RetryableError, SourceError
from vectorferry.connector.http._errors import ForbiddenError, NotFoundError, RefusedError
from vectorferry.connector.http._exchange import Answer
from vectorferry.connector.http._text import one_line, server_code, server_message
from vectorferry.connector.http._waits import asked_wait, retry_after

__all__ = ["Judge"]

TRY_AGAIN: Final = frozenset({408, 425, 429})
STANDARD_WORDS: Final = {status.value: status.phrase for status in HTTPStatus}


class Judge:
    """Turns every answer but a success into the error that says what to do next."""

    def __init__(self, base_url: str, host: str, key: str, key_help: str) -> None:
        self._base_url = base_url
        self._host = host
        self._key = key
        self._key_help = key_help

    def check(self, answer: Answer, what: str) -> None:
        """Return for a 2xx. `what` names the request: ``GET /collections``.

        Raises `RetryableError`, `CredentialsError`, `ForbiddenError`, `NotFoundError`, `RefusedError` or `SourceError`.
        """
        if not 200 <= answer.status < 300:
            self._refuse(answer, what)

    def _refuse(self, answer: Answer, what: str) -> NoReturn:
        said = self._said(answer)
        status = answer.status
        if status in TRY_AGAIN or status >= 500:
            raise RetryableError(said, after=asked_wait(answer) if status == 429 else retry_after(answer))
        if status == 401:
            raise CredentialsError(f"{self._host} refused the key ({said}). {self._key_help}")
        if status == 403:
            raise ForbiddenError(self._forbidden(what, said), code=server_code(answer.body))
        if status in (404, 410):
            raise NotFoundError(f"{self._host} has nothing for {what} ({said}).")
        if 300 <= status < 400:
            raise SourceError(self._redirected(answer, what))
        raise RefusedError(f"{self._host} refused {what} ({said}).", status=status, code=server_code(answer.body))

    def _forbidden(self, what: str, said: str) -> str:
        return f"{self._host} does not let this key do {what} ({said}). Give it the right to. {self._key_help}"

    def _said(self, answer: Answer) -> str:
        """The status in standard words: the reason phrase is the service's to choose, and could hold anything."""
        status = f"{answer.status} {STANDARD_WORDS.get(answer.status, '')}".strip()
        words = server_message(answer.body, self._key).rstrip(".")
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
