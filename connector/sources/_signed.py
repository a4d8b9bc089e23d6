"""Presigned addresses: the same object under another signature is no change."""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["is_signed", "lasting", "without_signatures"]

SIGNED: Final = re.compile(
    r"^https?://[^?#\s]+\?(?:[^#]*&)?(?:x-amz-signature|x-goog-signature|signature|sig|expires)=", re.IGNORECASE
)


def is_signed(value: Any) -> bool:
    """Whether this is an address that stops working after a while."""
    return isinstance(value, str) and SIGNED.match(value) is not None


def lasting(value: Any) -> Any:
    """A JSON value without the presigned addresses in it."""
    if isinstance(value, dict):
        return {key: lasting(item) for key, item in value.items() if not is_signed(item)}
    if isinstance(value, list):
        return [lasting(item) for item in value if not is_signed(item)]
    return value


def without_signatures(value: Any) -> Any:
    """A JSON value with the query cut off every presigned address in it."""
    if isinstance(value, dict):
        return {key: without_signatures(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_signatures(item) for item in value]
    return value.partition("?")[0] if is_signed(value) else value
