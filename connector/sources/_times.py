"""Times as services write them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

__all__ = ["read_time"]


def read_time(value: Any) -> datetime | None:
    """An ISO 8601 time, aware and in UTC; one without a zone is taken as UTC. None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
