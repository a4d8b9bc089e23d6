"""The records of one namespace: what was written, and what reads see of it so far."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping

from vectorferry.connector.sandbox._pinecone._records import Record

__all__ = ["Changes", "Namespace"]

Changes = Mapping[str, Record | None]


class Namespace:
    """Every write has a log sequence number; reads see it `lag` seconds later.

    `written` and `visible` map ids to records, `lsn` is that of the last write, `indexed_lsn` that of the last one
    that reads see.
    """

    def __init__(self, lag: float, lsn: int) -> None:
        self.written: dict[str, Record] = {}
        self.visible: dict[str, Record] = {}
        self.lsn = lsn
        self.indexed_lsn = lsn
        self._lag = lag
        self._waiting: deque[tuple[float, int, Changes]] = deque()
        self._sorted: list[str] | None = None

    def write(self, changes: Changes) -> None:
        """Put records in, in place of those with their ids; None takes one out."""
        self.lsn += 1
        _apply(self.written, changes)
        self._waiting.append((time.monotonic() + self._lag, self.lsn, changes))
        self.settle()

    def settle(self, *, everything: bool = False) -> None:
        """Let reads see the writes whose time has come."""
        now = time.monotonic()
        while self._waiting and (everything or self._waiting[0][0] <= now):
            _, self.indexed_lsn, changes = self._waiting.popleft()
            _apply(self.visible, changes)
            self._sorted = None

    def ids(self) -> list[str]:
        """The visible ids in the order of their bytes."""
        if self._sorted is None:
            self._sorted = sorted(self.visible)
        return self._sorted


def _apply(records: dict[str, Record], changes: Changes) -> None:
    for record_id, record in changes.items():
        if record is None:
            records.pop(record_id, None)
        else:
            records[record_id] = record
