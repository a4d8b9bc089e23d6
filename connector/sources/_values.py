"""Values as services write them: times, presigned addresses, and fingerprints of what stays the same."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final

from vectorferry.connector._model._json import canonical_json, is_too_deep

SIGNED: Final = re.compile(
    r"^https?://[^?#\s]+\?(?:[^#]*&)?(?:x-amz-signature|x-goog-signature|signature|sig|expires)=", re.IGNORECASE
)
"""The same object under another signature is no change."""


def read_time(value: Any) -> datetime | None:
    """An ISO 8601 time, aware and in UTC; one without a zone is taken as UTC. None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def moment(value: Any) -> Any:
    """A time in one spelling, however many digits of its second's fraction were printed; anything else as it is."""
    time = read_time(value)
    return value if time is None else time.isoformat()


def fingerprint_of(value: Any) -> str:
    """32 hexadecimal digits over a JSON value; other ones each time for what is nested too deeply to compare, so that
    it always counts as changed."""
    if is_too_deep(value):
        return secrets.token_hex(16)
    return blake2b(canonical_json(value), digest_size=16).hexdigest()


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
