"""Who may ask, and in which version of the API."""

from __future__ import annotations

import re

from vectorferry.connector.sandbox._http import RefusedError, Request

__all__ = ["api_version", "check_access"]

_VERSION = re.compile(r"\d{4}-\d{2}(\.\w+)?")
_OLDEST = "2025-04"


def check_access(request: Request, api_key: str) -> None:
    """Raises a `RefusedError` without the right key, or with a version that is none."""
    if request.headers.get("Api-Key") != api_key:
        raise RefusedError(401, "Invalid API key.")
    if not _VERSION.fullmatch(api_version(request)):
        raise RefusedError(400, f"Unknown X-Pinecone-Api-Version {api_version(request)[:20]!r}")


def api_version(request: Request) -> str:
    """Such as ``2026-07``; the oldest one that is served when the request names none."""
    return request.headers.get("X-Pinecone-Api-Version", _OLDEST)
