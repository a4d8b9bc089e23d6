"""What every runner is given: the rows, made ready before the clock starts, and the clock.

It runs in each peer's own environment, so that it needs nothing but numpy.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

__all__ = ["Meter", "Row", "measure"]

Things = TypeVar("Things")


class Row(NamedTuple):
    """One vector with what is said of it."""

    id: str
    asset: str
    text: str
    author: str
    start: float
    vector: Any


class Meter:
    """What the block took: wall clock, CPU of this process and its children, and memory beyond what it began with."""

    def __init__(self) -> None:
        self.used: dict[str, float] = {}

    def __enter__(self) -> Meter:
        gc.collect()
        gc.freeze()  # what was made ready beforehand would be gone through again and again
        self._before, self._cpu, self._began = _resident(), _cpu(), time.perf_counter()
        return self

    def __exit__(self, *_error: object) -> None:
        seconds, cpu = time.perf_counter() - self._began, _cpu() - self._cpu
        self.used = {"seconds": seconds, "cpu": cpu, "megabytes": (_status("VmHWM") - self._before) / 1024}


def measure(
    prepare: Callable[[dict[str, Any], list[Row]], Things], load: Callable[[dict[str, Any], Things], None]
) -> None:
    """Do the task that the command line names, and write down what `load` took; `prepare` is free."""
    task = json.loads(Path(sys.argv[1]).read_text())
    things = prepare(task, _rows(task["rows"]))
    with Meter() as meter:
        load(task, things)
    Path(task["result"]).write_text(json.dumps(meter.used))


def _rows(path: str) -> list[Row]:
    with np.load(path) as file:
        columns = [file[name] for name in Row._fields]
    return [Row(*row) for row in zip(*(each.tolist() for each in columns[:-1]), columns[-1], strict=True)]


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _resident() -> int:
    """Kilobytes resident now; the peak begins anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
