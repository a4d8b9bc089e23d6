"""What the shards of a run say of its workers, and how worker processes are told of that have failed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pytest

from vectorferry.connector._engine import WorkerProcesses
from vectorferry.connector._engine.sync._fleet import fleet
from vectorferry.connector._protocols._shards import ShardStatus, SharedRun

from ..waiting import wait_until


def run(listed: bool = True) -> SharedRun:
    return SharedRun("films", "r", "lister", {}, 30.0, listed)


def shard(number: int, state: Any, owner: str = "", assets: int = 10, **more: Any) -> ShardStatus:
    values: dict[str, Any] = {"token": 1, "remaining": 0, **more}
    return ShardStatus("films", "r", number, state, owner, assets=assets, **values)


SHARDS = [
    shard(1, "counted", "a", seconds=10.0, ended_seconds_ago=10.0),
    shard(2, "done", "a", seconds=10.0, ended_seconds_ago=0.0),
    shard(3, "counted", "b", seconds=20.0, ended_seconds_ago=0.0),
    shard(4, "claimed", "a", seconds=2.0, lease_seconds=29.0, remaining=7),
    shard(5, "claimed", "b", seconds=40.0, lease_seconds=28.0, remaining=3),
    shard(6, "claimed", "c", seconds=45.0, lease_seconds=-5.0, remaining=10),
    shard(7, "open"),
]


def test_rates_and_the_time_left_are_those_of_the_last_minute() -> None:
    now = fleet(run(), SHARDS)
    assert (now.assets, now.done, now.open, now.claimed) == (70, 30, 1, 3)
    assert now.rate == pytest.approx(30 / 20)
    assert now.seconds_left == pytest.approx(40 / 1.5)


def test_how_long_it_takes_is_not_known_before_all_is_listed_or_anything_is_done() -> None:
    assert fleet(run(listed=False), SHARDS).seconds_left is None
    assert fleet(run(), SHARDS[3:]).seconds_left is None
    assert fleet(run(), []).workers == []


def test_stragglers_and_those_that_are_lost_are_named() -> None:
    a, b, c = fleet(run(), SHARDS).workers
    assert (a.owner, a.shards, a.assets, a.at, a.remaining, a.remark) == ("a", 2, 20, [4], 7, "")
    assert a.rate == pytest.approx(1.0)
    assert (b.remark, b.lease_seconds) == ("slow with shard 5", 28.0)
    assert (c.remark, c.rate) == ("lost: others take over", None)


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was ended by SIGKILL"),
        ("raise SystemExit(5)", "ended with exit code 5"),
    ],
)
def test_a_worker_process_that_fails_is_told_by_name_and_status(code: str, how: str) -> None:
    workers = WorkerProcesses([sys.executable, "-c", code], 1)
    told: list[Sequence[str]] = [()]

    def has_died() -> bool:
        told.append(workers.deaths())
        return bool(told[-1])

    with workers.ended():
        workers.start()
        wait_until(has_died)
        (death,) = told[-1]
    assert death.startswith("worker 2 of 2 (process ")
    assert f"{how}; the others take over what it had" in death
    assert workers.deaths() == []


def test_a_worker_process_that_has_nothing_to_do_any_more_is_no_failure() -> None:
    workers = WorkerProcesses([sys.executable, "-c", ""], 2)
    with workers.ended():
        workers.start()
        workers.start()
    assert workers.deaths() == []
