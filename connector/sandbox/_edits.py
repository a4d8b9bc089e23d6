"""Keeping an asset's times honest after a change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from connector.sandbox._library import StoredAsset

__all__ = ["bump"]


def bump(asset: StoredAsset) -> None:
    """Set `updated_at` to now, at least a millisecond after what it was."""
    now = datetime.now(UTC).replace(tzinfo=None)
    last = asset.fields.get("updated_at")
    if isinstance(last, str):
        now = max(now, datetime.fromisoformat(last).replace(tzinfo=None) + timedelta(milliseconds=1))
    asset.fields["updated_at"] = now.isoformat(timespec="milliseconds") + "000"
