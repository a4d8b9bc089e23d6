"""The error bodies that Mixpeek's first generation is known to have sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vectorferry.connector.sandbox._http import RefusedError

__all__ = ["STYLES", "error_body"]

_KINDS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    429: "TooManyRequests",
}


def error_body(refusal: RefusedError, style: str) -> Any:
    """What is sent for a refusal in one of the `STYLES`; a 422 is FastAPI's list of problems in all of them."""
    if refusal.status == 422:
        return {"detail": refusal.details}
    return STYLES[style](refusal)


def _kind(refusal: RefusedError) -> str:
    return refusal.kind or _KINDS.get(refusal.status, "InternalServerError")


def _envelope(refusal: RefusedError) -> Any:
    error = {"message": refusal.message, "type": f"{_kind(refusal)}Error", "details": refusal.details}
    return {"success": False, "status": refusal.status, "error": error}


def _detail(refusal: RefusedError) -> Any:
    return {"detail": [{"msg": refusal.message}]}


def _flat(refusal: RefusedError) -> Any:
    return {"error": _kind(refusal), "message": refusal.message, "details": refusal.details or {}}


STYLES: dict[str, Callable[[RefusedError], Any]] = {"envelope": _envelope, "detail": _detail, "flat": _flat}
