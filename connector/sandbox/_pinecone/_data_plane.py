"""The API of one index, served on a port of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from vectorferry.connector.sandbox._http import Api, RefusedError, Reply, Request, Route
from vectorferry.connector.sandbox._pinecone._reads import NamespaceHandlers, QueryHandlers, ReadHandlers
from vectorferry.connector.sandbox._pinecone._requests import Context, Rates, check_access, data_refusal
from vectorferry.connector.sandbox._pinecone._store import Index
from vectorferry.connector.sandbox._pinecone._writes import WriteHandlers
from vectorferry.connector.sandbox._settings import PineconeDialect

__all__ = ["Answer", "DataPlane", "IndexPorts"]


class DataPlane:
    """Vectors of one index, as every API version from 2025-04 to 2026-07 serves them."""

    def __init__(self, index: Index, dialect: PineconeDialect, api_key: str) -> None:
        self._index = index
        self._api_key = api_key
        context = Context(index, dialect, Rates(dialect.rates))
        kinds = (WriteHandlers, ReadHandlers, QueryHandlers, NamespaceHandlers)
        self._routes = [route for kind in kinds for route in kind(context).routes()]

    @property
    def routes(self) -> Sequence[Route]:
        """Every endpoint of the index."""
        return self._routes

    def authorize(self, request: Request) -> None:
        """The key, and the version; then the index must be ready."""
        check_access(request, self._api_key)
        if not self._index.ready:
            raise RefusedError(503, f"Index {self._index.spec.name} is initializing")

    def refuse(self, refusal: RefusedError, _style: str | None = None) -> Reply:
        """The refusal as gRPC's status."""
        return data_refusal(refusal)


# Ports that are opened and closed while the sandbox runs.


_LONGEST_URL = 1_048_576  # a fetch names up to 1,000 ids of 512 characters in its query string


Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class IndexPorts:
    """Serves each API that it is given on a port of its own. To be used in one running event loop."""

    def __init__(self, host: str, answering: Callable[[Api], Answer]) -> None:
        self._host = host
        self._answering = answering
        self._serving: dict[int, asyncio.Task[web.ServerRunner]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def open(self, api: Api) -> int:
        """Serve `api`; who connects before the server runs waits in the socket's queue."""
        family, _, _, _, address = socket.getaddrinfo(self._host, 0, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=family, backlog=128)
        port: int = listening.getsockname()[1]
        self._serving[port] = asyncio.create_task(_serve(self._answering(api), listening))
        return port

    def close(self, port: int) -> None:
        """Stop serving on this port and drop its connections, soon."""
        task = asyncio.create_task(_stop(self._serving.pop(port)))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Stop serving on every port."""
        for port in list(self._serving):
            self.close(port)
        await asyncio.gather(*self._closing)


async def _serve(answer: Answer, listening: socket.socket) -> web.ServerRunner:
    server = web.Server(answer, access_log=None, max_line_size=_LONGEST_URL)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    return runner


async def _stop(serving: asyncio.Task[web.ServerRunner]) -> None:
    runner = await serving
    await runner.cleanup()
