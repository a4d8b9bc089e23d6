"""A real HTTP server whose answers a test writes, and which remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from json import dumps
from typing import Any, TypeAlias

from aiohttp import web
from multidict import CIMultiDictProxy
from pydantic import SecretStr

from vectorferry.connector.http import ApiClient, ClientSettings, RetryPolicy

KEY = "sk_canary_7f3a9c"
KEY_PATH = "source.api_key (by default ${SOME_KEY})"
QUICK = RetryPolicy(attempts=4, first_wait=0.01, longest_wait=0.05)

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Seen:
    """One request as the server got it."""

    method: str
    path: str
    query: dict[str, str]
    headers: CIMultiDictProxy[str]
    body: bytes
    at: float


@dataclass
class Server:
    """Where it listens, and what it saw."""

    url: str = ""
    seen: list[Seen] = field(default_factory=list)

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Server]:
    """Serve on a free port of loopback until the block ends."""
    server = Server()

    async def remember(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        at = asyncio.get_running_loop().time()
        path = request.raw_path.partition("?")[0]
        server.seen.append(Seen(request.method, path, dict(request.query), request.headers, body, at))
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", remember)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        server.url = f"http://{host}:{port}"
        yield server
    finally:
        await runner.cleanup()


def in_turn(*answers: web.Response | Handler) -> Handler:
    """The first answer for the first request, and so on; the last one for all further requests."""
    left = list(answers)

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, web.Response):
            return fresh(answer)
        return await answer(request)

    return handler


def fresh(answer: web.Response) -> web.Response:
    """An answer object is sent once; this is another with the same content."""
    return web.Response(status=answer.status, reason=answer.reason, headers=answer.headers, body=answer.body)


def json(value: Any, status: int = 200, **headers: str) -> web.Response:
    """A JSON answer, NaN and lone surrogates included; ``retry_after="1"`` becomes the header ``retry-after``."""
    spelled = {name.replace("_", "-"): text for name, text in headers.items()}
    return web.Response(body=dumps(value).encode(), status=status, content_type="application/json", headers=spelled)


def client_for(url: str, **settings: Any) -> ApiClient:
    """A client with the canary key and quick retries."""
    given = {"retry": QUICK, "api_key": SecretStr(KEY), "key_path": KEY_PATH, **settings}
    return ApiClient(ClientSettings(base_url=url, **given))


def client_tasks() -> set[asyncio.Task[Any]]:
    """The tasks of this event loop that do not belong to the server."""
    return {task for task in asyncio.all_tasks() if "RequestHandler" not in repr(task.get_coro())}
