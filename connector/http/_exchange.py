"""One request, one answer: bytes over the wire, bounded also when compressed, every failure in our own errors.

Errors are built while a library's exception is handled but raised after, so that none of them, and none of the request
headers they carry, hangs on ours as a cause or context.
"""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aiohttp
import httpx
from aiohttp.http_exceptions import HttpProcessingError
from httpx_aiohttp import AiohttpTransport, HttpxAiohttpClient

from vectorferry.connector._model._errors import RetryableError, SourceError, VectorferryError
from vectorferry.connector.http._answer import Answer
from vectorferry.connector.http._errors import UnreadableError, one_line

ACCEPTED: Final = "gzip"
"""What a request says that it takes."""

_PLAIN: Final = ("", "identity")
_ZIPPED: Final = ("gzip", "x-gzip", "deflate")
_ANY_HEADER: Final = 32 + zlib.MAX_WBITS
LIBRARY_FAILURES: Final = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.CookieConflict,
    httpx.StreamError,
    aiohttp.ClientError,
    HttpProcessingError,
    OSError,
    ValueError,
)


class SingleSendClient(HttpxAiohttpClient):
    """An `httpx.AsyncClient` over aiohttp that sends each request once: what fails is for the caller to send again."""

    def _init_transport(self, *args: Any, **settings: Any) -> httpx.AsyncBaseTransport:
        return _SingleSendTransport(*args, **settings)

    def _init_proxy_transport(self, *args: Any, **settings: Any) -> httpx.AsyncBaseTransport:
        return _SingleSendTransport(proxy=args[0] if args else settings.pop("proxy"), **settings)


async def exchange(
    client: httpx.AsyncClient, request: httpx.Request, max_bytes: int, admit: Callable[[int], Awaitable[None]]
) -> Answer:
    """Send a request and read its whole answer, at most `max_bytes` after decompression.

    `admit` is told how much has been read so far, and reading goes on when it returns.

    Raises `RetryableError` when the connection failed (`NoConnectionError` when there never was one),
    `UnreadableError` when the answer is too large, `SourceError` when the other side cannot prove who it is.
    """
    try:
        return await _exchange(client, request, max_bytes, admit)
    except LIBRARY_FAILURES as error:
        failure = _translated(error, request.url.host)
    raise failure


async def _exchange(
    client: httpx.AsyncClient, request: httpx.Request, max_bytes: int, admit: Callable[[int], Awaitable[None]]
) -> Answer:
    response = await client.send(request, stream=True)
    try:
        body = await _read(response, max_bytes, admit)
    finally:
        await response.aclose()
    return Answer(response.status_code, response.headers, body)


async def _read(response: httpx.Response, max_bytes: int, admit: Callable[[int], Awaitable[None]]) -> bytes:
    unpacker = Unpacker(response.headers.get("content-encoding", ""), max_bytes)
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.aiter_raw():
        chunks.append(unpacker.take(chunk))
        size += len(chunks[-1])
        if size > max_bytes:
            raise UnreadableError(
                f"{response.request.url.host} sent an answer larger than {max_bytes:,} bytes; it was not read. "
                "Raise source.max_answer_mb if it is genuine."
            )
        await admit(size)
    unpacker.end()
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _translated(error: Exception, host: str) -> VectorferryError:
    """The transport reports every lost connection as a timeout; what really happened is the cause it keeps."""
    cause: BaseException = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error
    cause = cause.__cause__ if isinstance(cause, _ConnectionLostError) and cause.__cause__ else cause
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        problem = one_line(str(cause.certificate_error))
        return SourceError(f"The certificate of {host} is not trusted ({problem}); check source.base_url.")
    if isinstance(cause, httpx.TimeoutException | TimeoutError):
        return RetryableError("no answer in time")
    if isinstance(cause, aiohttp.ClientConnectorError):
        return NoConnectionError(_failed(cause, str(cause.os_error)))
    return RetryableError(_failed(cause, str(cause)))


def _failed(cause: BaseException, details: str) -> str:
    return f"connection failed ({type(cause).__name__}: {one_line(details) or 'no details'})"


class NoConnectionError(RetryableError):
    """The host has no address, or nobody there takes connections."""


class Unpacker:
    """Undoes the Content-Encoding of one answer, piece by piece, and makes no more than one byte over `most`.

    The HTTP libraries undo as many encodings as an answer names, each as a whole. Raises `RetryableError` for one that
    was not asked for, for several, and for what is not encoded as it says.
    """

    def __init__(self, encoding: str, most: int) -> None:
        encoding = encoding.strip().lower()
        if encoding not in (*_PLAIN, *_ZIPPED):
            raise RetryableError("an answer in an encoding that was not asked for")
        self._inflating = None if encoding in _PLAIN else zlib.decompressobj(_ANY_HEADER)
        self._left = most + 1
        self._begun = False

    def take(self, piece: bytes) -> bytes:
        """What this piece holds, cut where it is too much."""
        if self._inflating is None:
            return piece
        self._begun = True
        try:
            unpacked = self._inflating.decompress(piece, max(self._left, 1))
        except zlib.error:
            raise RetryableError("an answer that cannot be unpacked") from None
        self._left -= len(unpacked)
        return unpacked

    def end(self) -> None:
        """Raise `RetryableError` when the answer was not whole."""
        if self._begun and self._inflating is not None and not self._inflating.eof:
            raise RetryableError("an answer that ends early")


class _SingleSendTransport(AiohttpTransport):
    def get_client(self) -> aiohttp.ClientSession:
        """The session as the transport makes it, on the same connector, with what keeps it from sending twice."""
        session = super().get_client()
        connector = session.connector
        session.detach()
        return aiohttp.ClientSession(connector=connector, middlewares=(_without_resending,))


class _ConnectionLostError(aiohttp.ClientConnectionError):
    """Stands for the error that it was raised from."""


async def _without_resending(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    # aiohttp sends an idempotent request once more by itself where a connection is lost, uncounted and past every pace.
    # It does so for these two classes of errors, but for their subclasses that say there never was a connection.
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _ConnectionLostError from error
