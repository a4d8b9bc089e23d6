"""Times as services write them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from vectorferry.connector.sources._values import read_time, time_text


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2024-11-07T14:31:56.428000", datetime(2024, 11, 7, 14, 31, 56, 428000, tzinfo=UTC)),
        ("2024-11-07T14:31:56.053031Z", datetime(2024, 11, 7, 14, 31, 56, 53031, tzinfo=UTC)),
        ("2023-01-01T00:00:00.000Z", datetime(2023, 1, 1, tzinfo=UTC)),
        ("2024-11-07T14:31:56+02:00", datetime(2024, 11, 7, 12, 31, 56, tzinfo=UTC)),
        ("2024-11-07T14:31:56.053031999Z", datetime(2024, 11, 7, 14, 31, 56, 53031, tzinfo=UTC)),
        ("2024-11-07T14:31:56.5Z", datetime(2024, 11, 7, 14, 31, 56, 500000, tzinfo=UTC)),
        ("2024-11-07T14:31:56.0000009Z", datetime(2024, 11, 7, 14, 31, 56, tzinfo=UTC)),
        ("2024-11-07T14:31:56Z", datetime(2024, 11, 7, 14, 31, 56, tzinfo=UTC)),
        ("2024-11-07 14:31:56Z", datetime(2024, 11, 7, 14, 31, 56, tzinfo=UTC)),
        ("2024-W45-4T14:31:56Z", datetime(2024, 11, 7, 14, 31, 56, tzinfo=UTC)),
    ],
)
def test_times_become_utc(text: str, time: datetime) -> None:
    read = read_time(text)
    assert read == time
    assert read is not None
    assert read.tzinfo is UTC
    assert time_text(text) == time.isoformat()


@pytest.mark.parametrize(
    "value",
    [None, "", "yesterday", 1730989916, {"$date": 1}, "2024-13-01", "2024-13-01T00:00:00Z", "0001-01-01T00:00+14:00"],
)
def test_anything_else_is_none(value: Any) -> None:
    assert read_time(value) is None
    assert time_text(value) is None
