"""Keeping an asset's times honest after a change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from connector.sandbox._library import StoredAsset

__all__ = ["bump", "now_text"]


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
