"""The aiohttp side: requests in, bytes out, faults on the way."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager

from aiohttp import web

from vectorferry.connector.sandbox._delivery import deliver
from vectorferry.connector.sandbox._fault_effects import Vanishing, before, spoil
from vectorferry.connector.sandbox._faults import Action, Faults, Stall
from vectorferry.connector.sandbox._http import Api, RefusedError, Reply, Request, Route
from vectorferry.connector.sandbox._request_log import RequestLog
from vectorferry.connector.sandbox._router import Router
from vectorferry.connector.sandbox._settings import RateLimit, SandboxSettings
from vectorferry.connector.sandbox._visitors import Visitors

__all__ = ["Server"]

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
        self._limiter = _Limiter(settings.rate_limit) if settings.rate_limit else None

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
        with self.requests.counted(route.name, len(request.body)):
            return await deliver(raw, await self._play(api, route, request))

    async def _play(self, api: Api, route: Route, request: Request) -> Reply:
        if self._latency:
            await asyncio.sleep(self._latency)
        if self._limiter and (wait := self._limiter.wait()) is not None:
            return self._limiter.refusal(api, wait)
        action = self.faults.action(route.name, request.path, request.body)
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
                return route.handler(request)
        except RefusedError as refusal:
            return api.refuse(refusal)

    def _nowhere(self, method: str, path: str) -> RefusedError:
        if self._router.methods(path):
            return RefusedError(405, f"Method {method} is not allowed here")
        return RefusedError(404, f"No such path: {path}")


class _Limiter:
    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._answered: deque[float] = deque()

    def wait(self) -> float | None:
        """Seconds until the next answer is free; None, and one answer taken, when it is free now."""
        now = asyncio.get_running_loop().time()
        while self._answered and self._answered[0] <= now - self._limit.seconds:
            self._answered.popleft()
        if len(self._answered) >= self._limit.requests:
            return self._answered[0] + self._limit.seconds - now
        self._answered.append(now)
        return None

    def refusal(self, api: Api, wait: float) -> Reply:
        details = {"rate_limit": self._limit.requests}
        reply = api.refuse(RefusedError(429, "Rate limit exceeded", details=details))
        if self._limit.retry_after:
            reply.headers = {"Retry-After": str(max(1, math.ceil(wait)))}
        return reply


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
