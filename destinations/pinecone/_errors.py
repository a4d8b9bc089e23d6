"""What Pinecone, its SDK and the HTTP library can raise, in our own errors; and where its key may be sent."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import httpx
import orjson
from pinecone.errors import ApiError, PineconeConnectionError, PineconeError, PineconeTimeoutError, ResponseParsingError

from vectorferry.connector.http import Answer, check_base_url, is_loopback, one_line, retry_after, server_message
from vectorferry.connector.plugin import CredentialsError, DestinationError, RetryableError, VectorferryError

__all__ = [
    "KEY_SETTING",
    "checked_address",
    "connection_failure",
    "in_words",
    "index_address",
    "refusal",
    "translated",
]


_PINECONE: Final = ".pinecone.io"
"""Every index of Pinecone's own control plane is below it, those with a private endpoint too (docs.pinecone.io)."""


def checked_address(host: str) -> str:
    """The URL of an index at `host`. Raises `DestinationError` for one that no key can safely be sent to."""
    try:
        return check_base_url(host if "://" in host else f"https://{host}", allow_http=None)
    except ValueError as error:
        raise DestinationError(f"The address of a Pinecone index {error}.") from None


def index_address(host: str, control_plane: str) -> str:
    """Like `checked_address`, for a host that the control plane or the manifest has named.

    Raises `DestinationError` too when it is neither Pinecone's nor that of the control plane that was configured.
    """
    url = checked_address(host)
    there, configured = _name(url), _name(control_plane)
    if there.endswith(_PINECONE) or there == configured or (is_loopback(there) and is_loopback(configured)):
        return url
    raise DestinationError(
        f"A Pinecone index is said to be at {there}, which is neither below pinecone.io nor the host of "
        "destinations[].host.\nThe key was not sent there; check destinations[].host."
    )


def _name(url: str) -> str:
    return (urlsplit(url).hostname or "").lower().rstrip(".")


# Everything that Pinecone, its SDK and the HTTP library can raise, in our own errors.
#
# An error is built while a library's exception is handled but raised after, with its context cut off, so that no
# request and no header with the key is shown along with it.


KEY_SETTING: Final = "destinations[].api_key"


_FAILURES: Final = (PineconeError, httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError, TypeError)


_TRY_AGAIN: Final = frozenset({408, 425, 429})


_QUOTAS: Final = ("quota", "reached the max")


_MONTHLY: Final = "for the current month"


_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}


@contextmanager
def translated(what: str, key: str = "") -> Iterator[None]:
    """Raise what goes wrong in the block as an error of ours. `what` says what was being done: ``listing the indexes``.

    `key` is the key that was sent; it is blotted out where the other side repeats it. Raises `RetryableError` for what
    may pass (429, 5xx, lost connections), `CredentialsError` for a refused key, else `DestinationError`.
    """
    try:
        yield
        return
    except VectorferryError:
        raise
    except _FAILURES as error:
        failure = _ours(error, what, key)
    raise failure from None


def refusal(answer: Answer, what: str, key: str = "") -> VectorferryError:
    """What an answer means that is no success."""
    said = in_words(answer, key)
    status = answer.status
    if status == HTTPStatus.UNAUTHORIZED:
        return CredentialsError(f"Pinecone refused the key while {what} ({said}). Check {KEY_SETTING}.")
    if _is_used_up(status, said):
        return DestinationError(
            f"Pinecone takes no more while {what} ({said}). "
            "Raise the project's limits, delete what it no longer needs, or wait."
        )
    if status == HTTPStatus.FORBIDDEN:
        return CredentialsError(
            f"Pinecone does not allow this key what is needed for {what} ({said}). Check {KEY_SETTING} and its roles."
        )
    if status in _TRY_AGAIN or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return RetryableError(f"Pinecone could not go on {what} ({said})", after=retry_after(answer))
    return DestinationError(f"Pinecone refused {what} ({said}).{_hint(status)}")


def in_words(answer: Answer, key: str) -> str:
    """The status in standard words, and then what the store says."""
    status = f"{answer.status} {_PHRASES.get(answer.status, '')}".strip()
    words = server_message(answer.body, key)
    return f"{status}: {words}" if words else status


def connection_failure(error: Exception, what: str, key: str = "") -> VectorferryError:
    """What an exception means that came in place of an answer."""
    if certificate := _certificate_problem(error):
        return DestinationError(
            f"The certificate of Pinecone's host is not trusted while {what} ({one_line(certificate, key=key)}). "
            "Check destinations[].host, and the proxy if there is one."
        )
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return RetryableError(f"Pinecone gave no answer in time while {what}")
    details = one_line(str(error), key=key) or type(error).__name__
    return RetryableError(
        f"The connection to Pinecone failed while {what} ({details}): check the network and destinations[].host"
    )


def _ours(error: Exception, what: str, key: str) -> VectorferryError:
    if isinstance(error, ApiError):
        return refusal(_as_answer(error), what, key)
    if isinstance(error, ResponseParsingError):
        return RetryableError(f"Pinecone's answer could not be read while {what} ({one_line(str(error), key=key)})")
    lost = PineconeConnectionError | PineconeTimeoutError | httpx.HTTPError | httpx.StreamError | OSError
    if isinstance(error, lost):
        return connection_failure(error, what, key)
    return DestinationError(f"Pinecone's client cannot go on {what} ({one_line(str(error), key=key)}).")


def _as_answer(error: ApiError) -> Answer:
    body = orjson.dumps(error.body, default=str) if error.body else error.message.encode()
    return Answer(error.status_code, httpx.Headers(error.headers), body)


def _hint(status: int) -> str:
    if status == HTTPStatus.NOT_FOUND:
        return " Was the index deleted? If not, check destinations[].host."
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return " Redirects are not followed, so that the key goes nowhere else; check destinations[].host."
    return ""


def _is_used_up(status: int, said: str) -> bool:
    """What a project may write in a month is refused with a 429 too, and trying again would go on until next month."""
    if status == HTTPStatus.FORBIDDEN:
        return any(words in said.lower() for words in _QUOTAS)
    return status == HTTPStatus.TOO_MANY_REQUESTS and _MONTHLY in said


def _certificate_problem(error: BaseException | None) -> str:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return str(error)
        error = error.__cause__ or error.__context__
    return ""
