"""The aiohttp side: who may ask, requests in, bytes out, faults on the way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from ipaddress import ip_address
from secrets import compare_digest
from threading import Lock
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from vectorferry.connector.sandbox._faults import Action, Fault, Faults, Stall, Vanishing, before, spoil
from vectorferry.connector.sandbox._http import Api, Delivery, RefusedError, Reply, Request, Route, Router, json_reply
from vectorferry.connector.sandbox._pinecone._store import PineconeInspector
from vectorferry.connector.sandbox._settings import SandboxSettings

_CONTROL_KEY: Final = "X-Sandbox-Key"
_RULES: TypeAdapter[list[Fault]] = TypeAdapter(list[Fault])


class RequestLog:
    """Counts requests by route name; what no route answers is called ``unknown``. Safe to read from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()
        self._open = 0
        self._peak = 0

    @contextmanager
    def counted(self, name: str, size: int) -> Iterator[None]:
        """Count one request with a body of so many bytes; the block is the time until it is answered."""
        with self._lock:
            self._counts[name] += 1
            self._sizes[name] += size
            self._open += 1
            self._peak = max(self._peak, self._open)
        try:
            yield
        finally:
            with self._lock:
                self._open -= 1

    def counts(self) -> dict[str, int]:
        """Requests by route name since the start or the last reset, refused and spoiled ones included."""
        with self._lock:
            return dict(sorted(self._counts.items()))

    def sizes(self) -> dict[str, int]:
        """Bytes of request bodies by route name since the start or the last reset."""
        with self._lock:
            return dict(sorted(self._sizes.items()))

    @property
    def open(self) -> int:
        """How many are being answered."""
        with self._lock:
            return self._open

    @property
    def peak(self) -> int:
        """The most requests that were being answered at once since the start or the last reset."""
        with self._lock:
            return self._peak

    @property
    def total(self) -> int:
        """All requests since the start or the last reset."""
        with self._lock:
            return self._counts.total()

    def reset(self) -> None:
        """Forget everything counted so far."""
        with self._lock:
            self._counts.clear()
            self._sizes.clear()
            self._peak = self._open


class Bucket:
    """Takes so many requests a second, and a second's worth at once after one in which none has come."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._left = float(rate)
        self._at = clock()

    def admits(self) -> bool:
        """Whether one more may come now."""
        now = self._clock()
        self._left, self._at = min(self._rate, self._left + (now - self._at) * self._rate), now
        admits = self._left >= 1
        self._left -= admits
        return admits


_LOCAL_NAMES: Final = frozenset({"localhost", "localhost.localdomain"})


class Visitors:
    """Refuses requests that a browser sends for a page from elsewhere.

    A page's script may ask a name of its own domain that has come to mean 127.0.0.1 (DNS rebinding); then `Host` says
    that name. Or it asks this address openly; then `Origin` says where the page is from. Numbers cannot be rebound.
    """

    def __init__(self, host: str) -> None:
        self._names = _LOCAL_NAMES | {host.lower()}

    def problem(self, headers: Mapping[str, str]) -> str | None:
        """Why a request with these headers is not answered, or None."""
        host = headers.get("Host", "")
        if not self._is_ours(f"//{host}"):
            return f"This sandbox is not {host[:80]!r}: ask it by its address, or as localhost"
        origin = headers.get("Origin")
        if origin is not None and origin.lower() != f"http://{host}".lower():
            return "This sandbox answers no page of another origin"
        return None

    def _is_ours(self, address: str) -> bool:
        try:
            name = urlsplit(address).hostname or ""
            return name in self._names or bool(ip_address(name))
        except ValueError:
            return False


_CHUNK = b" " * 65_536


async def deliver(raw: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    """Send `reply`; what its `delivery` says goes wrong, goes wrong."""
    headers = {**reply.headers, "Content-Type": reply.content_type}
    if reply.delivery is None:
        return web.Response(body=reply.body, status=reply.status, headers=headers)
    return await _broken(raw, reply, reply.delivery, headers)


async def _broken(raw: web.BaseRequest, reply: Reply, how: Delivery, headers: dict[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers=headers)
    response.force_close()
    if how.declared is not None:
        response.content_length = how.declared
    if how.reset and not how.sent:
        _reset(raw)
        return response
    with contextlib.suppress(ConnectionError):  # the client may leave first, and then nobody minds
        await response.prepare(raw)
        await _write(response, reply.body, how)
    if how.reset:
        _reset(raw)
    return response


async def _write(response: web.StreamResponse, body: bytes, how: Delivery) -> None:
    await response.write(body[: how.sent])
    if how.stall is not None:
        await how.stall()
        await response.write(body[how.sent :])
    if how.padding != 0:
        await _pad(response, how.padding)


async def _pad(response: web.StreamResponse, size: int | None) -> None:
    sent = 0
    while size is None or sent < size:
        await response.write(_CHUNK if size is None else _CHUNK[: size - sent])
        sent += len(_CHUNK)


def _reset(raw: web.BaseRequest) -> None:
    if raw.transport is None:
        return
    wire = raw.transport.get_extra_info("socket")
    if wire is not None:
        # Closing a socket that does not linger sends RST in place of FIN.
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.transport.abort()


class ControlApi:
    """The sandbox's own endpoints. They are not counted and know no faults.

    Only a client on this machine may use them, with `key` in the header `X-Sandbox-Key`, and with bodies that say that
    they are JSON: a page that a browser on this machine has open can send neither without being allowed to.
    """

    def __init__(self, key: str, requests: RequestLog, faults: Faults, pinecone: PineconeInspector) -> None:
        self._key = key
        self._requests = requests
        self._faults = faults
        self._pinecone = pinecone

    @property
    def routes(self) -> Sequence[Route]:
        """Every control endpoint."""
        return [
            Route("control", "GET", "/_sandbox/requests", self._counts),
            Route("control", "POST", "/_sandbox/requests/reset", self._reset),
            Route("control", "GET", "/_sandbox/faults", self._hits),
            Route("control", "POST", "/_sandbox/faults", self._add),
            Route("control", "DELETE", "/_sandbox/faults", self._clear),
            Route("control", "GET", "/_sandbox/pinecone", self._records),
        ]

    def authorize(self, request: Request) -> None:
        """Raises `RefusedError` for whoever is not on this machine, another key, and a body that is not JSON."""
        if not ip_address(request.peer).is_loopback:
            raise RefusedError(403, "Only a client on this machine may use /_sandbox")
        key = request.headers.get(_CONTROL_KEY, "").encode("utf-8", "surrogateescape")
        if not compare_digest(key, self._key.encode()):
            raise RefusedError(401, f"Send the key that the sandbox printed when it started as {_CONTROL_KEY}")
        content_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if request.body and content_type != "application/json":
            raise RefusedError(415, "Send bodies with Content-Type: application/json")

    def refuse(self, refusal: RefusedError) -> Reply:
        """A plain message."""
        return json_reply({"error": refusal.message, "details": refusal.details}, refusal.status)

    def _counts(self, _request: Request) -> Reply:
        return json_reply(self._requests.counts())

    def _reset(self, _request: Request) -> Reply:
        self._requests.reset()
        return json_reply({})

    def _hits(self, _request: Request) -> Reply:
        return json_reply({"hits": self._faults.hits()})

    def _add(self, request: Request) -> Reply:
        try:
            self._faults.add(*_RULES.validate_json(request.body))
        except ValidationError as error:
            problems = [{"loc": one["loc"], "msg": one["msg"]} for one in error.errors()]
            raise RefusedError(422, "Not a list of fault rules", details=problems) from None
        return json_reply({})

    def _clear(self, _request: Request) -> Reply:
        self._faults.clear()
        return json_reply({})

    def _records(self, _request: Request) -> Reply:
        """How many records each namespace of each index has, and their digest."""
        return json_reply({index: self._pinecone.digests(index) for index in self._pinecone.indexes()})


_LARGEST_BODY = 64 * 1024 * 1024


class Server:
    """Answers every request of every API on one address."""

    def __init__(
        self,
        apis: Sequence[Api],
        control: Api,
        vanish: Vanishing,
        lock: AbstractContextManager[object],
        settings: SandboxSettings,
        requests: RequestLog,
        faults: Faults,
        visitors: Visitors,
    ) -> None:
        self.requests = requests
        self.faults = faults
        self._control = control
        self._visitors = visitors
        self._router = Router([*apis, control])
        self._vanish = vanish
        self._lock = lock
        self._latency = settings.latency_ms / 1000
        self._bucket = Bucket(settings.requests_per_second) if settings.requests_per_second else None

    async def handle(self, raw: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if problem := self._visitors.problem(raw.headers):
            return await deliver(raw, self._control.refuse(RefusedError(403, problem)))
        request = await _read(raw)
        path = raw.rel_url.raw_path
        match = self._router.find(raw.method, path)
        if match is None:
            with self.requests.counted("unknown", len(request.body)):
                return await deliver(raw, self._router.nearest(path).refuse(self._nowhere(raw.method, path)))
        api, route, request.params = match
        if api is self._control:
            return await deliver(raw, self._answer(api, route, request))
        request.prefix = route.prefix
        with self.requests.counted(route.name_for(request), len(request.body)):
            return await deliver(raw, await self._play(api, route, request))

    async def _play(self, api: Api, route: Route, request: Request) -> Reply:
        if self._bucket is not None and not self._bucket.admits():
            return api.refuse(RefusedError(429, "Too many requests", headers={"Retry-After": "1"}))
        if self._latency:
            await asyncio.sleep(self._latency)
        action = self.faults.action(route.name_for(request), request.path, request.body)
        if action is None:
            return self._answer(api, route, request)
        return await self._misbehave(action, api, route, request)

    async def _misbehave(self, action: Action, api: Api, route: Route, request: Request) -> Reply:
        if isinstance(action, Stall) and action.when == "before":
            await self.faults.stall(action)
        with self._lock:
            reply = before(action, api, request, self._vanish)
        return reply if reply is not None else spoil(action, self._answer(api, route, request), self.faults.stall)

    def _answer(self, api: Api, route: Route, request: Request) -> Reply:
        try:
            api.authorize(request)
            with self._lock:
                return route.answer(request)
        except RefusedError as refusal:
            return api.refuse(refusal)

    def _nowhere(self, method: str, path: str) -> RefusedError:
        if self._router.methods(path):
            return RefusedError(405, f"Method {method} is not allowed here")
        return RefusedError(404, f"No such path: {path}")


async def _read(raw: web.BaseRequest) -> Request:
    body = bytearray()
    async for chunk in raw.content.iter_any():
        body += chunk
        if len(body) > _LARGEST_BODY:
            raise web.HTTPRequestEntityTooLarge(max_size=_LARGEST_BODY, actual_size=len(body))
    origin = f"http://{raw.headers.get('Host', 'localhost')}"
    peer = raw.remote or "127.0.0.1"
    url = raw.rel_url
    return Request(
        raw.method, url.raw_path, url.query, raw.headers, bytes(body), origin, peer, raw_query=url.raw_query_string
    )
