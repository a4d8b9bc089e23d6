"""One request, one answer: bytes over the wire, bounded also when compressed, every failure in our own errors.

Errors are built while a library's exception is handled but raised after, so that none of them, and none of the request
headers they carry, hangs on ours as a cause or context.

A transport of httpx decides how a service is reached: certificates, a proxy, limits. What it makes of each request and
answer took more than half of the time that a small one takes altogether, so that these go to its session directly; and
what the session makes of each took half of what was left, so that a plain request goes to its connections directly.
"""

from __future__ import annotations

import logging
import math
import zlib
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import httpx
from aiohttp.http_exceptions import HttpProcessingError
from httpx_aiohttp import AiohttpTransport
from multidict import CIMultiDictProxy

from vectorferry.connector._model._errors import RetryableError, SourceError, VectorferryError
from vectorferry.connector.http._answer import LARGE, Answer, Meaning, in_words, meaning_of
from vectorferry.connector.http._errors import UnreadableError, one_line
from vectorferry.connector.http._pace import TimeLimit, Timer
from vectorferry.connector.http._prepared import PreparedRequests, Read, is_tried

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


METHODS: Final = frozenset({"DELETE", "GET", "PATCH", "POST", "PUT"})
"""Whose answers have a body."""

_log = logging.getLogger("vectorferry.http")


@dataclass(slots=True)
class Outgoing:
    """A request as it is sent, as often as need be."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those that every request of a client has."""
    content: bytes | None = None
    content_type: str | None = None


async def exchange(
    transport: SingleSendTransport, request: Outgoing, max_bytes: int, admit: Callable[[int], Awaitable[None]]
) -> Answer:
    """Send a request and read its whole answer, at most `max_bytes` after decompression.

    `admit` is told how much has been read so far, and reading goes on when it returns.

    Raises `RetryableError` when the connection failed (`NoConnectionError` when there never was one),
    `UnreadableError` when the answer is too large, `SourceError` when the other side cannot prove who it is.
    """

    async def read(headers: CIMultiDictProxy[str], content: aiohttp.StreamReader, silence: TimeLimit | None) -> bytes:
        """Whatever has come is taken at once: a large answer comes in thousands of pieces."""
        encodings = headers.getall("content-encoding", None)
        unpacker = Unpacker(", ".join(encodings), max_bytes) if encodings else None
        chunks: list[bytes] = []
        size = 0
        while not content.at_eof():
            if silence is not None:
                silence.restart()
            chunk = await content.readany()
            if not chunk:  # nothing has come but the end
                break
            chunks.append(unpacker.take(chunk) if unpacker else chunk)
            size += len(chunks[-1])
            if size > max_bytes:
                raise UnreadableError(
                    f"{urlsplit(request.url).hostname} sent an answer larger than {max_bytes:,} bytes; it was not "
                    "read. Raise source.max_answer_mb if it is genuine."
                )
            if size >= LARGE:
                with silence.paused() if silence is not None else nullcontext():  # the service is not waited for
                    await admit(size)
        if unpacker:
            unpacker.end()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    try:
        answer = await transport.exchange(request, read)
    except LIBRARY_FAILURES as error:
        failure = _translated(error, urlsplit(request.url).hostname or "")
    else:
        _log.debug("%s %s: %d, %d bytes", request.method, request.url, answer.status, len(answer.body))
        return answer
    raise failure


def _translated(error: Exception, host: str) -> VectorferryError:
    """The transport reports every lost connection as a timeout; what really happened is the cause it keeps."""
    cause: BaseException = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error
    cause = cause.__cause__ if isinstance(cause, _ConnectionLostError) and cause.__cause__ else cause
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        problem = one_line(str(cause.certificate_error))
        return SourceError(f"The certificate of {host} is not trusted ({problem}); check source.base_url.")
    if isinstance(cause, aiohttp.ClientHttpProxyError):
        return _refused_by_proxy(cause, host)
    if isinstance(cause, httpx.TimeoutException | TimeoutError):
        return RetryableError("no answer in time")
    if isinstance(cause, aiohttp.ClientProxyConnectionError):
        details = f"the proxy {cause.host}:{cause.port} of the environment: {cause.os_error}"
        return NoConnectionError(_failed(cause, details))
    if isinstance(cause, aiohttp.ClientConnectorError):
        return NoConnectionError(_failed(cause, str(cause.os_error)))
    # Where only a part of the headers has come, aiohttp has all of them in its words, cookies too.
    details = "the other side hung up" if isinstance(cause, aiohttp.ServerDisconnectedError) else str(cause)
    return RetryableError(_failed(cause, details))


def _refused_by_proxy(error: aiohttp.ClientHttpProxyError, host: str) -> VectorferryError:
    """What the proxy of the environment answers when it is asked for a connection."""
    address = error.request_info.real_url
    proxy = f"{address.host}:{address.port}"
    status = in_words(Answer(error.status, {}, b""))
    if meaning_of(error.status) is Meaning.TRY_AGAIN:
        return RetryableError(f"the proxy {proxy} of the environment answers {status}")
    advice = "Check user and password in HTTPS_PROXY" if error.status == 407 else "Ask whoever runs it"
    return SourceError(
        f"{host} was not asked: the proxy {proxy} of the environment answers {status}. {advice}, or name {host} in "
        "NO_PROXY."
    )


def _failed(cause: BaseException, details: str) -> str:
    return f"connection failed ({type(cause).__name__}: {one_line(details) or 'no details'})"


class NoConnectionError(RetryableError):
    """The host has no address, or nobody there takes connections."""


class Unpacker:
    """Undoes the Content-Encoding of one answer, piece by piece, and makes no more than one byte over `most`.

    The HTTP libraries undo as many encodings as an answer names, each as a whole. Raises `RetryableError` for one that
    was not asked for, for several, for what is not encoded as it says, and for what goes on behind its end.
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
        if self._inflating.unused_data:  # which would be kept, whatever its size, and counted by nobody
            raise RetryableError("an answer with something behind its end")
        self._left -= len(unpacked)
        return unpacked

    def end(self) -> None:
        """Raise `RetryableError` when the answer was not whole."""
        if self._begun and self._inflating is not None and not self._inflating.eof:
            raise RetryableError("an answer that ends early")


class SingleSendTransport(AiohttpTransport):
    """A transport of httpx that gives out aiohttp's answers, and sends once: what fails is for the caller to repeat.

    It keeps no cookies: what an answer sets travels with no other request.
    """

    timeout = aiohttp.ClientTimeout()
    _prepared: PreparedRequests | None = None

    def __init__(self, limits: httpx.Limits, proxy: httpx.Proxy | None) -> None:
        super().__init__(limits=limits, proxy=proxy)
        self.timer = Timer()

    def get_client(self) -> aiohttp.ClientSession:
        """The session as the transport makes it, on the same connector, with what keeps it from sending twice."""
        session = super().get_client()
        connector = session.connector
        session.detach()
        return aiohttp.ClientSession(
            connector=connector,
            middlewares=(_without_resending,),
            timeout=self.timeout,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def exchange(self, request: Outgoing, read: Read) -> Answer:
        """The answer to a request, whose body `read` reads once its headers have come."""
        if request.method in METHODS:
            prepared = self._prepared
            if prepared is None or prepared.headers is not request.headers:
                prepared = self._prepare(request)
            if prepared is not None and (target := prepared.target(request.url)) is not None:
                content = request.content if request.content is not None or request.method == "GET" else b""
                return Answer(*await prepared.send(request.method, target, content, request.content_type, read))
        self._release()
        kind = {"Content-Type": request.content_type} if request.content_type else {}
        async with self._session.request(
            request.method,
            request.url,
            data=request.content,
            headers={**request.headers, **kind},
            allow_redirects=False,
            **self._by_proxy,
        ) as response:
            return Answer(response.status, response.headers, await read(response.headers, response.content, None))

    async def aclose(self) -> None:
        """Close all connections."""
        self._release()
        await super().aclose()

    def _prepare(self, request: Outgoing) -> PreparedRequests | None:
        self._release()
        idle_seconds = math.inf if self.limits.keepalive_expiry is None else self.limits.keepalive_expiry
        if is_tried():
            self._prepared = PreparedRequests(
                self._session, request.url, request.headers, self._by_proxy, self.timer, idle_seconds
            )
        return self._prepared

    def _release(self) -> None:
        if self._prepared is not None:
            self._prepared.release()

    @property
    def _session(self) -> aiohttp.ClientSession:
        if not isinstance(self.client, aiohttp.ClientSession):
            self.client = self.get_client()
        return self.client

    @cached_property
    def _by_proxy(self) -> Mapping[str, Any]:
        if self.proxy is None:
            return {}
        headers = dict(self.proxy.headers)
        if self.proxy.auth:
            user_and_password = b64encode(":".join(self.proxy.auth).encode())
            headers["Proxy-Authorization"] = f"Basic {user_and_password.decode()}"
        return {"proxy": str(self.proxy.url), "proxy_headers": headers}


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
