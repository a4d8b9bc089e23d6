"""Requests of which all but path and body is the same: written once, and sent on aiohttp's connections as they are.

Connections, TLS, a proxy's tunnel, time limits and the parsing of answers are aiohttp's. What its session does besides,
for each request anew, is for redirects, cookies, credentials in addresses, traces and bodies: none of that is ours, and
it takes more CPU than all the rest of a small answer. A connection is kept with its parser from one request to the
next, rather than given back, looked up and made ready again.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from vectorferry.connector.http._pace import TimeLimit, Timer
from vectorferry.connector.http._settings import can_travel

TARGET: Final = re.compile(r"(?!.*/\.\.?(?:[/?]|\Z))/[\w.~!$&'()*+,;=:@/?%-]*\Z", re.ASCII)
"""What is sent as it stands; anything else is made into what may be, as aiohttp's session does."""

TRIED: Final = ("3.13.", "3.14.")
"""Releases of aiohttp that have the parts asked for here, some of which it does not promise."""

BUFFER: Final = 65_536

Read: TypeAlias = Callable[[CIMultiDictProxy[str], aiohttp.StreamReader, TimeLimit | None], Awaitable[bytes]]
"""Reads the body of an answer with these headers, with what limits the time without a piece of it, unless aiohttp does.
"""


class PreparedRequests:
    """Sends requests with these headers to the origin of `url`, for whose connections `proxy` is what
    `ClientSession.request` takes of one. It keeps those that answers came over, each for `idle_seconds` at most."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        headers: Mapping[str, str],
        proxy: Mapping[str, Any],
        timer: Timer,
        idle_seconds: float,
    ) -> None:
        self._timer = timer
        self._idle_seconds = idle_seconds
        self._idle: deque[tuple[aiohttp.connector.Connection, float]] = deque()
        self.headers = headers
        address = URL(url)
        self._origin = url[: url.index("/", url.index("://") + 3)]
        host = {"Host": address.host_port_subcomponent or ""}
        if proxy:
            # They are part of what a connection is known by, and the connector adds `Host` when it has made the first.
            proxy = {"proxy": URL(proxy["proxy"]), "proxy_headers": CIMultiDict({**proxy["proxy_headers"], **host})}
        self._template = aiohttp.ClientRequest(
            "GET",
            address.origin(),
            headers={**host, **headers},
            loop=asyncio.get_running_loop(),
            session=session,
            **proxy,
        )
        self._connector = session.connector
        self._timeout = session.timeout
        self._silence = session.timeout.sock_read or math.inf
        lines = [f"{name}: {value}" for name, value in self._template.headers.items()]
        if not all(map(can_travel, lines)):
            raise ValueError("a header that cannot be sent")
        self._rest = "\r\n".join((" HTTP/1.1", *lines, "")).encode()

    def target(self, url: str) -> str | None:
        """What stands for this URL in a request; None where it is of another origin, and for aiohttp's session.

        The session is not asked for what can be sent without it: it takes a connection from among those given back
        without a look at what has come over it since.
        """
        if not url.startswith(f"{self._origin}/"):
            return None
        target = url[len(self._origin) :]
        return target if TARGET.match(target) else URL(url).raw_path_qs

    async def send(
        self, method: str, target: str, content: bytes | None, content_type: str | None, read: Read
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of the answer."""
        ending = b"\r\n" if content is None else _of_content(content, content_type)
        connection = self._usable() or await self._opened()
        try:
            protocol = connection.protocol
            assert protocol is not None
            assert protocol.transport is not None
            protocol.transport.write(b"%b %b%b%b" % (method.encode(), target.encode(), self._rest, ending))
            with self._timer.limit(self._silence) as silence:
                message, answer = await protocol.read()
                while 100 <= message.code < 200 and message.code != 101:
                    silence.restart()
                    message, answer = await protocol.read()
                body = await read(message.headers, answer, silence)
        except BaseException:
            connection.close()
            raise
        if self._is_closed:  # with the client, meanwhile: nobody would give the connection back
            connection.close()
        else:
            self._idle.append((connection, self._timer.loop.time()))
        return message.code, message.headers, body

    @property
    def _is_closed(self) -> bool:
        return self._connector is None or self._connector.closed

    def release(self) -> None:
        """Give back the connections that nothing is under way on: others count on their number."""
        while self._idle:
            connection, _ = self._idle.popleft()
            connection.release()

    def _usable(self) -> aiohttp.connector.Connection | None:
        """One of these, if any can still be used. Whatever came over it since its last answer belongs to nobody: it
        would be taken for the next one."""
        earliest = self._timer.loop.time() - self._idle_seconds
        while self._idle:
            connection, since = self._idle.popleft()
            protocol = connection.protocol
            if protocol is not None and protocol.is_connected() and not protocol.should_close and since >= earliest:
                return connection
            connection.close()
        return None

    async def _opened(self) -> aiohttp.connector.Connection:
        assert self._connector is not None
        if self._is_closed:
            # Left to the connector, the second such attempt would wait for room that nobody makes any more.
            raise RuntimeError("a client was closed while a request was under way; wait for its requests first")
        connection = await self._connector.connect(self._template, [], self._timeout)
        assert connection.protocol is not None
        connection.protocol.set_response_params(
            read_until_eof=True, auto_decompress=False, read_timeout=None, read_bufsize=BUFFER
        )
        return connection


def _of_content(content: bytes, content_type: str | None) -> bytes:
    """The last headers, and what they are of."""
    kind = f"Content-Type: {content_type}\r\n".encode() if content_type else b""
    return b"%bContent-Length: %d\r\n\r\n%b" % (kind, len(content), content)


def is_tried() -> bool:
    """Whether this was tried with the aiohttp that is there."""
    return aiohttp.__version__.startswith(TRIED)
