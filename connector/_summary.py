"""What a run reports: exact counts, or nothing at all where a number is not known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from connector._destination import Applied, IndexBuild
from connector._source import Usage

__all__ = ["CollectionSummary", "DestinationSummary", "Summary"]


@dataclass(slots=True)
class CollectionSummary:
    """What a scan of one collection saw. `pending` and `failed` hold the asset ids (the first 20 of each)."""

    listed: int = 0
    unchanged: int = 0
    pulled: int = 0
    pending: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    pending_count: int = 0
    failed_count: int = 0
    complete: bool = False
    note: str | None = None


@dataclass(slots=True)
class DestinationSummary:
    """What one destination was given; `error` is set when it gave up while others went on."""

    applied: Applied = field(default_factory=Applied)
    by_collection: dict[str, Applied] = field(default_factory=dict)
    indexes: list[IndexBuild] = field(default_factory=list)
    quarantined: int = 0
    replaced_nul: int = 0
    error: str | None = None


@dataclass(slots=True)
class Summary:
    """One run, whole. `exit_code` is 0 done, 1 failed, 3 records in quarantine, 4 a guard refused."""

    sync: str
    collections: dict[str, CollectionSummary] = field(default_factory=dict)
    destinations: dict[str, DestinationSummary] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    exit_code: int = 0

    def to_dict(self) -> Mapping[str, Any]:
        """Plain JSON values, for ``--json`` and for Dagster metadata."""
        raise NotImplementedError  # the engine's first step fills this in
