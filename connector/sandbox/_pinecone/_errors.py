"""The two shapes of Pinecone's error bodies, and its refusals in plain text."""

from __future__ import annotations

from typing import Any

from vectorferry.connector.sandbox._http import RefusedError, Reply, json_reply

__all__ = ["ThrottledError", "control_refusal", "data_refusal"]

_RPC_CODES = {400: 3, 403: 7, 404: 5, 405: 12, 408: 4, 409: 6, 412: 9, 429: 8, 501: 12, 503: 14, 504: 4}
_KINDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    422: "UNPROCESSABLE_ENTITY",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}
_INTERNAL = 13


class ThrottledError(RefusedError):
    """A 429 of the store itself. `retry_after` is in whole seconds, None to leave the header out."""

    def __init__(self, message: str, *, retry_after: int | None, plain: bool) -> None:
        super().__init__(429, message)
        self.retry_after = retry_after
        self.plain = plain


def control_refusal(refusal: RefusedError) -> Reply:
    """``{"status": 404, "error": {"code": "NOT_FOUND", "message": "…"}}``."""
    code = refusal.kind or _KINDS.get(refusal.status, "UNKNOWN")
    return json_reply({"status": refusal.status, "error": {"code": code, "message": refusal.message}}, refusal.status)


def data_refusal(refusal: RefusedError) -> Reply:
    """gRPC's status as JSON; a 401 is plain text, a 413 has no body at all."""
    if refusal.status == 413:
        return Reply(b"", 413)
    if refusal.status == 401:
        return Reply(b"Unauthorized", 401, content_type="text/plain")
    if isinstance(refusal, ThrottledError):
        return _throttled(refusal)
    return json_reply(_rpc_status(refusal), refusal.status)


def _throttled(refusal: ThrottledError) -> Reply:
    reply = json_reply(_rpc_status(refusal), 429)
    if refusal.plain:
        reply = Reply(refusal.message.encode(), 429, content_type="text/plain")
    if refusal.retry_after is not None:
        reply.headers = {"Retry-After": str(refusal.retry_after)}
    return reply


def _rpc_status(refusal: RefusedError) -> dict[str, Any]:
    code = int(refusal.kind) if refusal.kind else _RPC_CODES.get(refusal.status, _INTERNAL)
    return {"code": code, "message": refusal.message, "details": []}
