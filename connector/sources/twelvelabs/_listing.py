"""From rows of a list to listings. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from vectorferry.connector._json import canonical_json, is_too_deep
from vectorferry.connector._records import AssetState
from vectorferry.connector.sources._times import read_time

__all__ = ["digest", "moment", "state_of", "system_metadata"]


def state_of(row: Mapping[str, Any]) -> AssetState:
    """Whether TwelveLabs has finished with it: pending, queued, indexing, validating and what nobody knows yet are
    waited for. The older list of videos has no status at all."""
    status = row.get("status")
    if status in (None, "ready"):
        return AssetState.READY
    return AssetState.FAILED if status == "failed" else AssetState.PENDING


def system_metadata(row: Mapping[str, Any]) -> Any:
    """What the service found out about a file; `metadata` is what this was called before."""
    return row["system_metadata"] if "system_metadata" in row else row.get("metadata")


def moment(value: Any) -> Any:
    """A time in one spelling, however many digits of its second's fraction were printed; anything else as it is."""
    time = read_time(value)
    return value if time is None else time.isoformat()


def digest(*told: Any) -> str:
    """32 hexadecimal digits over JSON values; other ones each time for what is nested too deeply to compare."""
    values = list(told)
    if is_too_deep(values):
        return secrets.token_hex(16)
    return blake2b(canonical_json(values), digest_size=16).hexdigest()
