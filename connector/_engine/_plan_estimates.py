"""Estimates of what has not been read, from what is stored. Pure; None where there is nothing to go by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vectorferry.connector._engine._plan_dry_source import DrySource, Reads
from vectorferry.connector._plan import ReadEstimate, WriteEstimate
from vectorferry.connector._planned import Averages
from vectorferry.connector._plugins import SourceSettings
from vectorferry.connector._source import Usage

__all__ = ["Rate", "estimate_reads", "estimate_writes", "sum_up"]


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a source may be asked: requests per minute (None: no limit), those of each kind that has a limit of its
    own (``list`` and ``read`` count here), and how many at the same time."""

    requests_per_minute: int | None = None
    concurrency: int = 1
    kinds: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: SourceSettings) -> Rate:
        """As the settings say, where they do: a plug-in need not have these."""
        return cls(
            getattr(settings, "requests_per_minute", None),
            getattr(settings, "concurrency", 1),
            getattr(settings, "requests_per_minute_by_kind", {}),
        )

    def seconds(self, listing: int, listing_seconds: float, reading: int) -> float:
        """Listings come one after the other, as long as they took; reads take as long each, side by side."""
        each = listing_seconds / listing if listing else 0.0
        at_full_speed = listing_seconds + reading * each / self.concurrency
        limited = [
            (listing + reading, self.requests_per_minute),
            (listing, self.kinds.get("list")),
            (reading, self.kinds.get("read")),
        ]
        return max([at_full_speed, *(60 * requests / limit for requests, limit in limited if limit)])


def sum_up(reads: Iterable[Reads]) -> Reads:
    """Those of all collections."""
    total = Reads()
    for each in reads:
        total.new += each.new
        total.changed += each.changed
        total.features += each.features
    return total


def estimate_reads(
    source: DrySource, usage: Usage, reads: Reads, averages: Sequence[Averages | None], rate: Rate
) -> ReadEstimate:
    """What listing has cost, and reading would; `averages` are those of every destination."""
    listing = usage.requests - usage.retries
    features = _features(reads.new, reads.features, next(filter(None, averages), None))
    reading = source.requests_to_read(reads.new + reads.changed, features)
    seconds = None if reading is None else round(rate.seconds(listing, source.listing_seconds, reading), 1)
    return ReadEstimate(listing, reading, features, seconds)


def estimate_writes(new: int, features: int, averages: Averages | None) -> WriteEstimate:
    """What would be sent: new assets, and others that have so many features now."""
    expected = _features(new, features, averages)
    if expected == 0:
        return WriteEstimate(0, 0, 0)
    if expected is None or averages is None:
        return WriteEstimate(expected, None, None)
    return WriteEstimate(
        expected, round(expected * averages.rows_per_feature), round(expected * averages.bytes_per_feature)
    )


def _features(new: int, features: int, averages: Averages | None) -> int | None:
    if not new:
        return features
    return None if averages is None else features + round(new * averages.features_per_asset)
