"""The rules for record ids and the names of namespaces."""

from __future__ import annotations

import re
from typing import Any

from vectorferry.connector.sandbox._http import RefusedError

__all__ = ["DEFAULT_NAMESPACE", "namespace_name", "record_id"]

DEFAULT_NAMESPACE = "__default__"

_ASCII = re.compile(r"[\x01-\x7f]{1,512}")


def record_id(given: Any) -> str:
    """An id, 1 to 512 ASCII characters without NUL; raises a `RefusedError` for anything else."""
    if not isinstance(given, str) or not _ASCII.fullmatch(given):
        raise RefusedError(400, f"Vector ID must be 1 to 512 ASCII characters, got {str(given)[:80]!r}")
    return given


def namespace_name(given: Any) -> str:
    """The namespace meant: the empty name, no name and ``__default__`` are the same one."""
    if given is None or given == "":
        return DEFAULT_NAMESPACE
    if not isinstance(given, str) or not _ASCII.fullmatch(given):
        raise RefusedError(400, f"Namespace must be 1 to 512 ASCII characters, got {str(given)[:80]!r}")
    return given
