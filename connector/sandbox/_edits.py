"""Keeping an asset's times honest after a change."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from vectorferry.connector.sandbox._library import StoredAsset

__all__ = ["add_metadata", "bump", "now_text"]


def add_metadata(fields: dict[str, Any], metadata: Mapping[str, Any]) -> None:
    """Set some metadata; what is not named stays, unless it is no object at all."""
    known = fields.get("metadata")
    fields["metadata"] = {**(known if isinstance(known, dict) else {}), **metadata}


def bump(asset: StoredAsset) -> None:
    """Set `updated_at` to now, at least a millisecond after what it was."""
    now = _now()
    last = asset.fields.get("updated_at")
    if isinstance(last, str):
        now = max(now, datetime.fromisoformat(last).replace(tzinfo=None) + timedelta(milliseconds=1))
    asset.fields["updated_at"] = _text(now)


def now_text() -> str:
    """The present the way assets show times: without a zone, whole milliseconds in six digits."""
    return _text(_now())


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds") + "000"
