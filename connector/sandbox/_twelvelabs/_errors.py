"""Refusals in TwelveLabs' own words."""

from __future__ import annotations

from typing import Any

from vectorferry.connector.sandbox._http import RefusedError

__all__ = ["error_body", "invalid", "missing"]

_CODES = {
    400: "parameter_invalid",
    401: "api_key_invalid",
    403: "read_not_allowed",
    404: "resource_not_exist",
    405: "method_not_allowed",
    429: "too_many_requests",
}


def error_body(refusal: RefusedError, style: str = "flat") -> dict[str, Any]:
    """The flat body that most endpoints answer with, or the envelope of embed-v2, whose codes are in capitals."""
    code = refusal.kind or _CODES.get(refusal.status, "internal_server_error")
    if style == "envelope" or code.isupper():
        return {"error": {"code": code.upper(), "message": refusal.message, "details": refusal.details or {}}}
    return {"code": code, "message": refusal.message}


def invalid(name: str, problem: str) -> RefusedError:
    """A parameter has a value that it cannot have."""
    return RefusedError(400, f"The {name} parameter is invalid. {problem}", kind="parameter_invalid")


def missing(what: str, name: str, rule: str, declared: int) -> RefusedError:
    """There is no such thing; `rule` says under which status, ``declared`` as the documents have it."""
    status = declared if rule == "declared" else int(rule)
    if status == 403:
        return RefusedError(403, f"You are not authorized to read entity {name}", kind="read_not_allowed")
    message = f"Resource with id {name} does not exist in {what}"
    return RefusedError(status, message, kind="resource_not_exist")
