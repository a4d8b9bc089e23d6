"""What metadata may hold: strings, numbers, booleans and lists of strings, 40 KB in all."""

from __future__ import annotations

from typing import Any

import orjson

from vectorferry.connector.sandbox._http import RefusedError

__all__ = ["LARGEST_METADATA", "metadata_bytes"]

LARGEST_METADATA = 40_960


def metadata_bytes(given: Any) -> bytes:
    """Checked metadata as JSON, numbers as float64; empty for none. Raises a `RefusedError` for anything else."""
    if not given and (given is None or isinstance(given, dict)):
        return b""
    if not isinstance(given, dict):
        raise RefusedError(400, "metadata must be an object")
    stored = orjson.dumps({key: _value(key, value) for key, value in given.items()})
    if len(stored) > LARGEST_METADATA:
        message = (
            f"Metadata size is {len(stored)} bytes, which exceeds the limit of {LARGEST_METADATA} bytes per vector"
        )
        raise RefusedError(400, message)
    return stored


def _value(key: str, value: Any) -> Any:
    if key.startswith("$"):
        raise RefusedError(400, f"Metadata key must not start with '$', got '{key}'")
    match value:
        case str() | bool() | float():
            return value
        case int():
            return float(value)
        case list() if all(isinstance(one, str) for one in value):
            return value
    shown = "null" if value is None else orjson.dumps(value).decode()[:80]
    message = f"Metadata value must be a string, number, boolean or list of strings, got '{shown}' for field '{key}'"
    raise RefusedError(400, message)
