"""One request to an index, one answer: bytes over the wire, bounded, and what the answer means for the records sent.

Writes do not go through the official SDK, which everything else does. Its REST data plane tries again by itself and
cannot be told not to (`retry_config` does not reach it), so that a 429 would never reach our own concurrency control;
its delete drops the header with the log sequence number; and it is slow with numpy rows, or sends float64 text, which
is two thirds longer. (Read and measured in pinecone 10.2.0.)
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from ssl import SSLContext
from threading import Lock
from typing import Any, Final, TypeAlias
from weakref import WeakSet

import httpx
import orjson

from vectorferry.connector.http import (
    ACCEPTED,
    Answer,
    Meaning,
    Unpacker,
    can_travel,
    environment_proxy,
    in_words,
    meaning_of,
    server_message,
)
from vectorferry.connector.plugin import ConfigurationError, DestinationError, RetryableError
from vectorferry.destinations.pinecone._bodies import Body, EncodedRecord, Envelope
from vectorferry.destinations.pinecone._errors import (
    KEY_SETTING,
    checked_address,
    connection_failure,
    refusal,
    translated,
)

_API_VERSION: Final = "2026-07"
"""That of the SDK which makes the indexes, so that both planes are of one version. Upserts, updates and deletes have
been the same since 2025-04."""

_SECONDS_KEPT: Final = 30.0
"""An idle connection outlives the pause between two batches."""

_SECONDS_TO_CONNECT: Final = 8.0
"""Nothing can break off the making of a connection."""

_CONNECTED: Final = frozenset({"connection.connect_tcp.complete", "connection.start_tls.complete"})
_LIBRARY_FAILURES: Final = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError)
_INVALID_ARGUMENT: Final = 3
_OUT_OF_RANGE: Final = 11
"""gRPC's codes, as the body of a refusal names them."""

_LSN_HEADERS: Final = ("x-pinecone-request-lsn", "x-pinecone-lsn-committed")
_LONGEST_LSN: Final = 18

_ABOUT_THE_INDEX: Final = ("documents api", "dimension of the index", "index configuration", "api-version")
"""Complaints that every record of the index would meet with."""


@dataclass(frozen=True, slots=True)
class WriterLimits:
    """Sizes in bytes, times in seconds.

    Pinecone takes at most 1,000 records and 2 MB in an upsert and 1,000 ids in a delete. Its documentation does not
    settle whether the 2 MB are those of the float32 values or of the JSON text, which is three times as long;
    `request_bytes` bounds the text, which is safe under either reading.
    (https://docs.pinecone.io/reference/api/database-limits)
    """

    request_bytes: int = 2_000_000
    records: int = 1_000
    concurrency: int = 16
    timeout: float = 30.0
    attempts: int = 6
    first_wait: float = 0.5
    longest_wait: float = 20.0
    longest_retry_after: float = 60.0
    answer_bytes: int = 64_000
    rates: WriteRates | None = None


@dataclass(frozen=True, slots=True)
class WriteRates:
    """What is sent in a second, at most: requests of each kind and bytes of upserts into a namespace, and records that
    are deleted from an index. Bytes are those of `EncodedRecord.units_bytes`."""

    requests: float
    upserted_bytes: float
    deleted_records: float

    def upsert_seconds(self, size: int) -> float:
        """The share of a namespace's time that is used up by one upsert of so many bytes."""
        return max(1 / self.requests, size / self.upserted_bytes)

    def delete_seconds(self, records: int) -> float:
        """The same, for one delete of so many records."""
        return max(1 / self.requests, records / self.deleted_records)


@dataclass(frozen=True, slots=True)
class Write:
    """One kind of write to one namespace. `action` names it: ``upserting into books``.

    `counted`: the answer says how many records were written. `needs_namespace`: one that is not there is a failure.
    `seconds` is how much of the namespace's time a request with these records uses up.
    """

    action: str
    path: str
    envelope: Envelope
    seconds: Callable[[Sequence[EncodedRecord]], float] = lambda _: 0.0
    counted: bool = False
    needs_namespace: bool = True


@dataclass(frozen=True, slots=True)
class Accepted:
    """All of it was written; `lsn` is the namespace's log sequence number since then, 0 when none was named."""

    lsn: int = 0


@dataclass(frozen=True, slots=True)
class Oversized:
    """The request is larger than the store takes."""

    words: str


@dataclass(frozen=True, slots=True)
class Unacceptable:
    """Nothing was written, because of at least one of the records."""

    words: str


Verdict: TypeAlias = Accepted | Oversized | Unacceptable


class Requests:
    """A pool of connections to one index. Safe from any thread. `tls` says whom they trust, None: as the system does.

    Raises `ConfigurationError` for a key that cannot travel, `DestinationError` for an address that the key should not
    be sent to.
    """

    def __init__(self, host: str, api_key: str, limits: WriterLimits, tls: SSLContext | None = None) -> None:
        self._key = api_key
        self._timeout = limits.timeout
        self._most_bytes = limits.answer_bytes
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._aborting = False
        self._lock = Lock()
        url = checked_address(host)
        with translated("opening the connection", api_key):
            self._client = httpx.Client(
                base_url=url,
                headers=_headers(api_key),
                timeout=httpx.Timeout(limits.timeout, connect=min(limits.timeout, _SECONDS_TO_CONNECT)),
                transport=httpx.HTTPTransport(
                    verify=tls or True,
                    limits=httpx.Limits(
                        max_connections=None,
                        max_keepalive_connections=limits.concurrency + 1,
                        keepalive_expiry=_SECONDS_KEPT,
                    ),
                    proxy=environment_proxy(url),
                ),
                follow_redirects=False,
                trust_env=False,
            )

    def post(self, write: Write, body: Body, records: int) -> Verdict:
        """Send one request that holds so many records, once, and read its whole answer.

        Raises `RetryableError` when there is no answer in time or it may be another one later, `CredentialsError` for a
        refused key, `DestinationError` for what is not about these records.
        """
        return judge(self._exchange(write.path, body, write.action), write, records, self._key)

    @contextmanager
    def aborting(self) -> Iterator[None]:
        """Break off every request that is under way, or that is begun before the block ends: as if the other side had
        hung up."""
        with self._lock:
            self._aborting, connections = True, list(self._sockets)
        try:
            for connection in connections:
                _hang_up(connection)
            yield
        finally:
            self._aborting = False

    def close(self) -> None:
        """Close every connection. Safe to call twice."""
        self._client.close()

    def _exchange(self, path: str, body: Body, action: str) -> Answer:
        try:
            length = {"Content-Length": str(len(body))}
            trace = {"trace": self._note_socket}
            with self._client.stream("POST", path, content=iter(body), headers=length, extensions=trace) as response:
                return Answer(response.status_code, response.headers, self._read(response, action))
        except _LIBRARY_FAILURES as error:
            failure = connection_failure(error, action, self._key)
        raise failure from None

    def _note_socket(self, event: str, info: Mapping[str, Any]) -> None:
        """Of httpcore's steps, those that leave us with a new connection."""
        if event in _CONNECTED:
            connection = info["return_value"].get_extra_info("socket")
            with self._lock:
                self._sockets.add(connection)
                aborting = self._aborting
            if aborting:
                _hang_up(connection)

    def _read(self, response: httpx.Response, action: str) -> bytes:
        until = time.monotonic() + self._timeout
        unpacker = Unpacker(response.headers.get("content-encoding", ""), self._most_bytes)
        body = bytearray()
        for chunk in response.iter_raw():
            body += unpacker.take(chunk)
            if len(body) > self._most_bytes:
                raise DestinationError(f"Pinecone's host sent more than {self._most_bytes:,} bytes while {action}.")
            if time.monotonic() > until:
                raise RetryableError(f"Pinecone gave no whole answer in time while {action}")
        unpacker.end()
        return bytes(body)


def judge(answer: Answer, write: Write, records: int, key: str) -> Verdict:
    """What became of a request that holds so many records. `key` is blotted out where the answer repeats it.

    Raises what `refusal` does for everything that is not about the records.
    """
    if meaning_of(answer.status) is Meaning.SUCCESS:
        return _accepted(answer, write, records)
    if _is_missing_namespace(answer) and not write.needs_namespace:
        return Accepted()
    words = server_message(answer.body, key) or in_words(answer, key)
    code = _code(answer)
    if answer.status == 413 or _says_oversized(answer, code, words):
        return Oversized(words)
    if answer.status == 400 and code in (None, _INVALID_ARGUMENT) and not _is_about_index(words):
        return Unacceptable(words)
    raise refusal(answer, write.action, key)


def _accepted(answer: Answer, write: Write, records: int) -> Accepted:
    """A page that a proxy put in place of the answer says 200 as well, and nothing was written then."""
    body = _parsed(answer)
    if body is None or (write.counted and body.get("upsertedCount") != records):
        raise RetryableError(f"Pinecone's host did not confirm what it was sent while {write.action}")
    return Accepted(max(_number(answer.headers.get(name, "")) for name in _LSN_HEADERS))


def _is_missing_namespace(answer: Answer) -> bool:
    """There is nothing to delete then. An index that is missing is told apart by its words."""
    return meaning_of(answer.status) is Meaning.MISSING and "namespace not found" in server_message(answer.body).lower()


def _says_oversized(answer: Answer, code: Any, words: str) -> bool:
    exceeds = "request size" in words.lower() and "exceeds" in words.lower()
    return answer.status == 400 and (code == _OUT_OF_RANGE or exceeds)


def _is_about_index(words: str) -> bool:
    return any(phrase in words.lower() for phrase in _ABOUT_THE_INDEX)


def _code(answer: Answer) -> Any:
    return (_parsed(answer) or {}).get("code")


def _parsed(answer: Answer) -> dict[str, Any] | None:
    try:
        body = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _LONGEST_LSN else 0


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)  # not an SSLSocket's own, which is not safe from outside


def check_key(api_key: str) -> None:
    """Raise `ConfigurationError` for a key that cannot travel."""
    if not api_key.strip() or not can_travel(api_key):
        raise ConfigurationError(f"{KEY_SETTING} is empty, or holds a character that no key has (a line break?).")


def _headers(api_key: str) -> dict[str, str]:
    check_key(api_key)
    return {
        "Api-Key": api_key,
        "X-Pinecone-Api-Version": _API_VERSION,
        "Content-Type": "application/json",
        "Accept-Encoding": ACCEPTED,
        "User-Agent": f"vectorferry/{version('vectorferry')}; source_tag=vectorferry",
    }
