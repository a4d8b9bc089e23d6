"""What Pinecone, its SDK and the HTTP library can raise, in our own errors; and where its key may be sent.

An error is built while a library's exception is handled but raised after, with its context cut off, so that no request
and no header with the key is shown along with it.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import httpx
import orjson
from pinecone.errors import ApiError, PineconeConnectionError, PineconeError, PineconeTimeoutError, ResponseParsingError

from vectorferry.connector.http import (
    Answer,
    Meaning,
    check_base_url,
    in_words,
    is_loopback,
    meaning_of,
    one_line,
    retry_after,
)
from vectorferry.connector.plugin import CredentialsError, DestinationError, RetryableError, VectorferryError

KEY_SETTING: Final = "destinations[].api_key"

_PINECONE: Final = ".pinecone.io"
"""Every index of Pinecone's own control plane is below it, those with a private endpoint too (docs.pinecone.io)."""

_FAILURES: Final = (
    *(PineconeError, httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError, TypeError),
    ImportError,  # a proxy that needs another package
)
_LOST: Final = (PineconeConnectionError, PineconeTimeoutError, httpx.HTTPError, httpx.StreamError, OSError)
_QUOTAS: Final = ("quota", "reached the max")
_MONTHLY: Final = "for the current month"


def checked_address(host: str) -> str:
    """The URL of an index at `host`. Raises `DestinationError` for one that no key can safely be sent to."""
    try:
        return check_base_url(host if "://" in host else f"https://{host}", allow_http=None)
    except ValueError as error:
        raise DestinationError(f"The address of a Pinecone index {error}.") from None


def index_address(address: str, control_plane: str) -> str:
    """Like `checked_address`, for a host that the control plane or the manifest has named.

    Raises `DestinationError` too when it is neither Pinecone's nor that of the control plane that was configured.
    """
    url = checked_address(address)
    host, configured = _name(url), _name(control_plane)
    if host.endswith(_PINECONE) or host == configured or (is_loopback(host) and is_loopback(configured)):
        return url
    raise DestinationError(
        f"A Pinecone index is said to be at {host}, which is neither below pinecone.io nor the host of "
        "destinations[].host.\nThe key was not sent there; check destinations[].host."
    )


def _name(url: str) -> str:
    return (urlsplit(url).hostname or "").lower().rstrip(".")


@contextmanager
def translated(action: str, key: str = "") -> Iterator[None]:
    """Raise what goes wrong in the block as an error of ours. `action` is what was being done: ``listing the indexes``.

    `key` is the key that was sent; it is blotted out where the other side repeats it. Raises `RetryableError` for what
    may pass (429, 5xx, lost connections), `CredentialsError` for a refused key, else `DestinationError`.
    """
    try:
        yield
        return
    except VectorferryError:
        raise
    except _FAILURES as error:
        failure = _translation(error, action, key)
    raise failure from None


def refusal(answer: Answer, action: str, key: str = "") -> VectorferryError:
    """What an answer means that is no success, be it the SDK's or our own request's."""
    words = in_words(answer, key)
    if _is_used_up(answer.status, words):
        return DestinationError(
            f"Pinecone takes no more while {action} ({words}). "
            "Raise the project's limits, delete what it no longer needs, or wait."
        )
    match meaning_of(answer.status):
        case Meaning.TRY_AGAIN:
            return RetryableError(f"Pinecone could not go on {action} ({words})", after=retry_after(answer))
        case Meaning.BAD_KEY:
            return CredentialsError(f"Pinecone refused the key while {action} ({words}). Check {KEY_SETTING}.")
        case Meaning.FORBIDDEN:
            return CredentialsError(
                f"Pinecone does not allow this key what is needed for {action} ({words}). "
                f"Check {KEY_SETTING} and its roles."
            )
        case Meaning.MISSING:
            hint = " Was the index deleted? If not, check destinations[].host."
        case Meaning.REDIRECT:
            hint = " Redirects are not followed, so that the key goes nowhere else; check destinations[].host."
        case _:
            hint = ""
    return DestinationError(f"Pinecone refused {action} ({words}).{hint}")


def connection_failure(error: Exception, action: str, key: str = "") -> VectorferryError:
    """What an exception means that came in place of an answer."""
    if certificate := _certificate_problem(error):
        return DestinationError(
            f"The certificate of Pinecone's host is not trusted while {action} ({one_line(certificate, key=key)}). "
            "Check destinations[].host, and the proxy if there is one."
        )
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return RetryableError(f"Pinecone gave no answer in time while {action}")
    details = one_line(str(error), key=key) or type(error).__name__
    return RetryableError(
        f"The connection to Pinecone failed while {action} ({details}): check the network and destinations[].host"
    )


def _translation(error: Exception, action: str, key: str) -> VectorferryError:
    if isinstance(error, ApiError):
        return refusal(_as_answer(error), action, key)
    if isinstance(error, ResponseParsingError):
        return RetryableError(f"Pinecone's answer could not be read while {action} ({one_line(str(error), key=key)})")
    if isinstance(error, _LOST):
        return connection_failure(error, action, key)
    return DestinationError(f"Pinecone's client cannot go on {action} ({one_line(str(error), key=key)}).")


def _as_answer(error: ApiError) -> Answer:
    body = orjson.dumps(error.body, default=str) if error.body else error.message.encode()
    return Answer(error.status_code, httpx.Headers(error.headers), body)


def _is_used_up(status: int, words: str) -> bool:
    """What a project may write in a month is refused with a 429 too, and trying again would go on until next month."""
    if meaning_of(status) is Meaning.FORBIDDEN:
        return any(quota in words.lower() for quota in _QUOTAS)
    return status == 429 and _MONTHLY in words


def _certificate_problem(error: BaseException | None) -> str:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return str(error)
        error = error.__cause__ or error.__context__
    return ""
