"""The one HTTP client that every source shares: paced, retried, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from hashlib import pbkdf2_hmac
from typing import Any, Final, Generic, TypeAlias, TypeVar

import httpx
import orjson
from aiohttp import ClientTimeout

from vectorferry.connector._model._errors import ConfigurationError, RetryableError
from vectorferry.connector._model._json import MOST_PARSED_PER_BYTE, parsed_size
from vectorferry.connector._protocols._allowance import Account, Allowance, Hold
from vectorferry.connector._protocols._source import Usage
from vectorferry.connector._telemetry import count_request, is_traced, span
from vectorferry.connector.http._allowance import Borrower
from vectorferry.connector.http._answer import (
    LARGE,
    OK,
    REMAINING,
    Answer,
    AnswerRoom,
    Judge,
    limit_reached,
    service_time,
    wait_when_spent,
)
from vectorferry.connector.http._errors import UnreadableError, UnsendableError, UnsureError, one_line, without_key
from vectorferry.connector.http._exchange import (
    ACCEPTED,
    NoConnectionError,
    Outgoing,
    SingleSendTransport,
    exchange,
)
from vectorferry.connector.http._pace import Pace, Retries, Timer, Tries
from vectorferry.connector.http._settings import Address, ClientSettings, Params, can_travel, environment_proxy

T = TypeVar("T")
Form: TypeAlias = Sequence[tuple[str, str]]

KEY_HASH_ROUNDS: Final = 50_000
"""Some 20 ms, once. Keys are random texts that nobody guesses; this is for one that is not."""

LONGEST_URL: Final = 65_536
"""Characters; no server that is known takes as many."""

STRANGER_ATTEMPTS: Final = 3
"""Attempts to reach a host that has never answered: more likely its address is wrong than that it is away."""


@dataclass(frozen=True, slots=True)
class _Wire:
    """What belongs to the event loop that the client is used in."""

    transport: SingleSendTransport
    slots: asyncio.Semaphore
    room: AnswerRoom
    pace: Pace
    timer: Timer
    is_traced: bool


@dataclass(slots=True)
class _Request(Generic[T]):
    """One request, and how it is to be treated."""

    name: str
    http: Outgoing
    decode: Callable[[bytes], T]
    kind: str
    once: bool


class ApiClient:
    """Reads one service: bounded concurrency and rate, retries, bounded answers, one host.

    Raises `ConfigurationError` when the base URL, the key or a header cannot be used. Nothing is sent before the
    first `request`. Used by one event loop at a time; after `aclose` it opens again by itself.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self.usage = Usage()
        self._settings = settings
        self._key = settings.api_key.get_secret_value().strip()
        self._headers = self._checked_headers()
        self._address = self._checked_address()
        key_help = f"Check {settings.key_path}. {settings.key_advice}".strip()
        self._judge = Judge(self._address.base_url, self._address.host, self._key, key_help)
        self._retries = Retries(settings.retry)
        self._hashed_key = cache(partial(hashed_key, self._key))
        self._wire: _Wire | None = None
        self._allowance: Allowance | None = None
        self._has_answered = False
        self._last_headers: Mapping[str, str] = {}

    @property
    def service_time(self) -> float:
        """Seconds since 1970 by the service's own clock, as its last answer has it; by this machine's where that has
        none. What the service dates is compared with this, never with a clock that somebody may have set here."""
        return service_time(self._last_headers)

    @property
    def host(self) -> str:
        """The host, and port if it is not the usual one, for messages."""
        return self._address.host

    def identity(self, service: str) -> dict[str, str]:
        """Who asks: the service, its address and the key, of which there is a slow, salted hash and no way back."""
        return {"source": service, "base_url": self._address.base_url, "key": self._hashed_key(service)}

    def share(self, allowance: Allowance) -> None:
        """From now on, keep to the service's limits together with all who borrow from this allowance."""
        if allowance is self._allowance:
            return
        self._allowance = allowance
        if self._wire is not None:
            self._share(self._wire.pace, allowance)

    async def request(
        self,
        method: str,
        path: str,
        *,
        decode: Callable[[bytes], T],
        params: Params | None = None,
        json: Any = None,
        form: Form | None = None,
        kind: str = "",
        once: bool = False,
    ) -> T:
        """Send a request below the base URL and decode its answer, trying again where that may help.

        `path` begins with a slash; ids in it go through `segment` first. `decode` gets the whole body; when it raises
        `ValueError` the answer counts as broken and is asked for again, anything else passes through. `form` is sent as
        multipart/form-data. `kind` says which of the settings' limits counts this request. With `once` it is not sent
        again when it may have been received, for what would else be done twice.

        Raises `CredentialsError` (401), `ForbiddenError` (403), `NotFoundError` (404, 410), `RefusedError` (other
        4xx), `UnreadableError` (retries are used up, or the answer is too large), `UnsureError` (`once`, and nobody
        knows), `UnsendableError` (what is to be sent cannot be), `SourceError` (a redirect, a wrong certificate) and
        `LimitReachedError` (too many requests, for longer than one may wait).
        """
        wire = self._wire = self._wire or self._connect()
        name = f"{method} {path}"
        request = _Request(name, self._outgoing(name, method, path, params or {}, json, form), decode, kind, once)
        async with wire.slots:
            tries = Tries(wire.timer.limit(self._settings.retry.total_seconds), self._settings.retry.attempts)
            if not wire.is_traced:
                return await self._tried(wire, request, tries)
            where = {"http.request.method": method, "server.address": self.host, "url.path": path}
            with span(method, where, client=True) as more:
                try:
                    return await self._tried(wire, request, tries)
                finally:
                    more["http.request.resend_count"] = max(tries.count - 1, 0)

    async def aclose(self) -> None:
        """Close all connections. Safe to call twice."""
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.pace.settle()
            await wire.transport.aclose()
            wire.timer.stop()

    async def _tried(self, wire: _Wire, request: _Request[T], tries: Tries) -> T:
        try:
            with tries.limit:
                return await self._retries.run(partial(self._attempt, wire, request), tries)
        except (RetryableError, TimeoutError):
            pass
        raise self._given_up(request, tries)

    async def _attempt(self, wire: _Wire, request: _Request[T], tries: Tries) -> T:
        if not wire.pace.is_free(request.kind):
            await wire.pace.admit(request.kind, tries.limit)
        tries.count += 1
        tries.unsure = request.once
        self.usage.requests += 1
        count_request(self.host)
        self.usage.retries += tries.count > 1
        try:
            with wire.room.place() as place:
                answer = await exchange(wire.transport, request.http, self._settings.max_answer_bytes, place.admit)
                self._has_answered = True
                self._last_headers = answer.headers
                self.usage.bytes += len(answer.body)
                if answer.status != OK or REMAINING in answer.headers:
                    self._check(wire, request, answer, tries)
                # In a thread nothing else waits for it, as far as the parser lets others run; a small one costs less
                # here.
                if len(answer.body) < LARGE:
                    return self._decoded(answer, request.decode)
                return await asyncio.to_thread(self._decoded, answer, request.decode)
        except NoConnectionError as error:
            tries.missed(str(error))
            if not self._has_answered:
                tries.attempts = min(tries.attempts, STRANGER_ATTEMPTS)
            raise
        except RetryableError as error:
            tries.last = str(error)
            if tries.unsure:
                tries.attempts = tries.count
            raise

    def _check(self, wire: _Wire, request: _Request[T], answer: Answer, tries: Tries) -> None:
        try:
            self._judge.check(answer, request.name)
        except RetryableError as error:
            if answer.status != 429:
                raise
            tries.missed(str(error))
            if (error.after or 0) <= self._retries.longest_hold:
                wire.pace.hold(request.kind, self._retries.asked(error))
                wire.pace.tell(request.kind, self._retries.others_wait(error))
                raise
            reached = limit_reached(self.host, str(error), error.after or 0)
            wire.pace.tell(request.kind, error.after or 0, str(error))
            wire.pace.shut(request.kind, error.after or 0, reached)
        else:
            self._pause_when_spent(wire, request.kind, answer)
            return
        raise reached

    def _pause_when_spent(self, wire: _Wire, kind: str, answer: Answer) -> None:
        """Rather than run into a 429. Where the wait is too long, the 429 will say so in the service's own words."""
        wait = wait_when_spent(answer)
        if wait is not None and wait <= self._retries.longest_hold:
            wire.pace.hold(kind, wait)
            wire.pace.tell(kind, wait)

    def _decoded(self, answer: Answer, decode: Callable[[bytes], T]) -> T:
        try:
            self._check_parsed(answer.body)
            return decode(answer.body)
        except ValueError as error:
            problem = one_line(str(error), 120, key=self._key)
        kind = one_line(answer.headers.get("content-type", "no content type"), 60, key=self._key)
        raise RetryableError(f"an answer that cannot be read ({kind}, {len(answer.body):,} bytes: {problem})")

    def _check_parsed(self, body: bytes) -> None:
        most = self._settings.max_parsed_bytes
        if len(body) * MOST_PARSED_PER_BYTE > most and (size := parsed_size(body)) > most:
            raise UnreadableError(
                f"{self.host} sent an answer of {len(body):,} bytes that would take some {size // 1_000_000:,} MB when "
                "it is parsed; it was not read. Raise source.max_parsed_mb if it is genuine."
            )

    def _given_up(self, request: _Request[T], tries: Tries) -> UnreadableError:
        last = without_key(tries.last, self._key) or "no answer in time"
        name = one_line(request.name)
        if tries.unsure:
            return UnsureError(
                f"{self.host} gave no usable answer to {name}, which may have been done all the same; last: {last}.\n"
                "It was not sent again. Look there first, then run again if need be."
            )
        advice = "Run again later; source.retry sets how long to try."
        if not self._has_answered:
            advice = f"It has never answered: check source.base_url and the network. {advice}"
        return UnreadableError(
            f"{self.host} gave no usable answer to {name}: {tries.count} "
            f"{'attempt' if tries.count == 1 else 'attempts'}, at most {self._settings.retry.total_seconds:g} s; "
            f"last: {last}.\n{advice}"
        )

    def _outgoing(self, name: str, method: str, path: str, params: Params, json: Any, form: Form | None) -> Outgoing:
        """Values may be the service's own, from an earlier answer: any text that JSON can spell, of any length."""
        try:
            url = self._address.url(path, params)
            if len(url) <= LONGEST_URL and url.isprintable():
                return self._built(method, url, json, form)
        except (UnicodeEncodeError, orjson.JSONEncodeError):
            pass
        raise UnsendableError(
            f"{one_line(name)} was not sent to {self.host}: it would hold something that is no text (half of a "
            "surrogate pair), or is too long. It may have come from the service itself, as an id or an option."
        )

    def _built(self, method: str, url: str, json: Any, form: Form | None) -> Outgoing:
        if form is not None:
            request = httpx.Request(method, url, files=[(name, (None, value)) for name, value in form])
            return Outgoing(method, url, self._headers, request.read(), request.headers["content-type"])
        if json is None:
            return Outgoing(method, url, self._headers)
        return Outgoing(method, url, self._headers, orjson.dumps(json), "application/json")

    def _connect(self) -> _Wire:
        settings = self._settings
        url, retry = self._address.base_url, settings.retry
        limits = httpx.Limits(max_connections=settings.concurrency, max_keepalive_connections=settings.concurrency)
        transport = SingleSendTransport(limits=limits, proxy=environment_proxy(url))
        transport.timeout = ClientTimeout(sock_connect=retry.connect_seconds, sock_read=retry.timeout_seconds)
        room = AnswerRoom(settings.answers_in_flight_bytes, settings.max_answer_bytes)
        pace = Pace(settings.requests_per_minute, settings.kinds)
        if self._allowance is not None:
            self._share(pace, self._allowance)
        return _Wire(transport, asyncio.Semaphore(settings.concurrency), room, pace, transport.timer, is_traced())

    def _share(self, pace: Pace, allowance: Allowance) -> None:
        def heed(kind: str, hold: Hold) -> None:
            if hold.reason:
                pace.shut(kind, hold.seconds, limit_reached(self.host, hold.reason, hold.seconds))
            else:
                pace.hold(kind, min(hold.seconds, self._retries.longest_hold))

        account = Account(self._address.base_url, self._hashed_key("allowance"))
        pace.share(Borrower(allowance, account, heed))

    def _checked_headers(self) -> dict[str, str]:
        settings = self._settings
        if not self._key or self._key.startswith("${"):
            raise ConfigurationError(f"There is no key to send: set {settings.key_path}.")
        if not can_travel(self._key):
            raise ConfigurationError(f"{settings.key_path} holds a character that a key cannot have (a line break?).")
        unusable = [name for name, value in settings.headers.items() if not can_travel(value)]
        if unusable:
            raise ConfigurationError(f"The value for the header {unusable[0]} holds a character that cannot be sent.")
        key = {settings.key_header: self._key} if settings.key_header else {"Authorization": f"Bearer {self._key}"}
        own = {"Accept": "application/json", "Accept-Encoding": ACCEPTED, "User-Agent": "vectorferry"}
        return {**own, **settings.headers, **key}

    def _checked_address(self) -> Address:
        try:
            return Address(self._settings.base_url, allow_http=self._settings.allow_http)
        except ValueError as error:
            raise ConfigurationError(f"source.base_url {error}") from None


def hashed_key(key: str, service: str) -> str:
    """A slow, salted hash of a key, another one for each service; there is no way back."""
    salt = f"vectorferry key of {service}".encode()
    return pbkdf2_hmac("sha256", key.encode(), salt, KEY_HASH_ROUNDS, dklen=16).hex()
