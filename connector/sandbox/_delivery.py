"""Putting an answer on the wire, whole or broken."""

from __future__ import annotations

import contextlib
import socket
import struct

from aiohttp import web

from vectorferry.connector.sandbox._http import Delivery, Reply

__all__ = ["deliver"]

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
