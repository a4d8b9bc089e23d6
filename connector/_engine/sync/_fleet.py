"""Who works on what is shared at this moment: what each has done, how fast, who lags behind, how long it takes yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Destination
from vectorferry.connector._protocols._shards import ShardStatus, SharedRun

SLOW: Final = 3.0
"""A shard that takes so many times as long as half of them is a straggler's."""

RECENT: Final = 60.0
"""Seconds whose shards tell how fast it goes now."""


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """What one worker has done, and which shards it is `at`; `remaining` assets of these it has not asked for. `rate`
    is in assets a second while it had shards; `lease_seconds` until others take over, unless it is heard of."""

    owner: str
    shards: int
    assets: int
    remaining: int
    at: Sequence[int]
    rate: float | None
    lease_seconds: float | None
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Fleet:
    """One run that is shared: of the `assets` that were cut so far, `done` are written. `seconds_left` at the `rate` of
    the last minute (assets a second), where all is `listed`."""

    collection: str
    run_id: str
    listed: bool
    assets: int
    done: int
    open: int
    claimed: int
    rate: float | None
    seconds_left: float | None
    workers: Sequence[WorkerStatus]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def fleets_of(destination: Destination) -> Sequence[Fleet]:
    """What a destination's books say of each run that is shared; nothing of one that cannot be. Needs no `prepare`."""
    if Capability.SHARDS not in destination.capabilities:
        return ()
    with closing(destination.shard_book()) as book:
        runs, by_run = book.runs(), defaultdict(list)
        for shard in book.shards():
            by_run[shard.collection, shard.run_id].append(shard)
        return [fleet(run, by_run[run.collection, run.run_id]) for run in runs]


def fleet(run: SharedRun, shards: Sequence[ShardStatus]) -> Fleet:
    """What the shards of a run that is going on amount to."""
    ended = [shard for shard in shards if shard.state in ("done", "counted")]
    done, assets = sum(shard.assets for shard in ended), sum(shard.assets for shard in shards)
    rate = _rate_now(ended)
    return Fleet(
        collection=run.collection,
        run_id=run.run_id,
        listed=run.listed,
        assets=assets,
        done=done,
        open=sum(shard.state == "open" for shard in shards),
        claimed=sum(shard.state == "claimed" for shard in shards),
        rate=rate,
        seconds_left=(assets - done) / rate if run.listed and rate and done < assets else None,
        workers=_workers(shards),
    )


def _rate_now(ended: Iterable[ShardStatus]) -> float | None:
    """From when the first of those that have just ended was claimed."""
    recent = [each for each in ended if each.ended_seconds_ago is not None and each.ended_seconds_ago <= RECENT]
    begun = max(((each.ended_seconds_ago or 0) + (each.seconds or 0) for each in recent), default=0.0)
    return sum(each.assets for each in recent) / begun if begun > 0 else None


def _workers(shards: Sequence[ShardStatus]) -> list[WorkerStatus]:
    by_owner: dict[str, list[ShardStatus]] = defaultdict(list)
    for shard in shards:
        if shard.owner:
            by_owner[shard.owner].append(shard)
    usual = median([each.seconds or 0.0 for each in shards if each.state in ("done", "counted")] or [0.0])
    return [_worker(owner, each, usual) for owner, each in sorted(by_owner.items())]


def _worker(owner: str, shards: Sequence[ShardStatus], usual: float) -> WorkerStatus:
    ended = [shard for shard in shards if shard.state in ("done", "counted")]
    at = [shard for shard in shards if shard.state == "claimed"]
    spent = max((_age(shard) for shard in ended), default=0.0) - min((_end(shard) for shard in ended), default=0.0)
    assets = sum(shard.assets for shard in ended)
    leases = [shard.lease_seconds for shard in at if shard.lease_seconds is not None]
    lease = min(leases, default=None)
    return WorkerStatus(
        owner=owner,
        shards=len(ended),
        assets=assets,
        remaining=sum(shard.remaining for shard in at),
        at=[shard.number for shard in at],
        rate=assets / spent if spent > 0 else None,
        lease_seconds=lease,
        remark=_remark(at, lease, usual),
    )


def _remark(at: Iterable[ShardStatus], lease: float | None, usual: float) -> str:
    if lease is not None and lease < 0:
        return "lost: others take over"
    slow = [shard.number for shard in at if usual and (shard.seconds or 0.0) > SLOW * usual]
    return f"slow with shard {slow[0]}" if slow else ""


def _age(shard: ShardStatus) -> float:
    """Seconds since it was claimed."""
    return (shard.ended_seconds_ago or 0.0) + (shard.seconds or 0.0)


def _end(shard: ShardStatus) -> float:
    return shard.ended_seconds_ago or 0.0
