"""Rate limits of one index, by operation and namespace."""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from vectorferry.connector.sandbox._pinecone._errors import ThrottledError
from vectorferry.connector.sandbox._settings import PineconeRates

__all__ = ["Rates"]


@dataclass(frozen=True, slots=True)
class _Claim:
    operation: str
    amount: int
    limit: int
    unit: str = "requests"


@dataclass(slots=True)
class _Window:
    taken: deque[tuple[float, int]] = field(default_factory=deque)
    total: int = 0

    def settle(self, since: float) -> None:
        while self.taken and self.taken[0][0] <= since:
            self.total -= self.taken.popleft()[1]

    def refuses(self, claim: _Claim) -> bool:
        return self.total > 0 and self.total + claim.amount > claim.limit

    def take(self, now: float, amount: int) -> None:
        self.taken.append((now, amount))
        self.total += amount


class Rates:
    """How much was asked of an index lately. Every method raises a `ThrottledError` when it is too much."""

    def __init__(self, limits: PineconeRates | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._windows: defaultdict[tuple[str, str, str], _Window] = defaultdict(_Window)

    def upsert(self, namespace: str, size: int) -> None:
        """One upsert of so many bytes."""
        if limits := self._limits:
            requests = _Claim("upsert", 1, limits.requests)
            self._admit(limits, namespace, requests, _Claim("upsert", size, limits.upsert_bytes, "bytes"))

    def query(self, namespace: str) -> None:
        """One query."""
        if limits := self._limits:
            self._admit(limits, namespace, _Claim("query", 1, limits.requests))

    def change(self, operation: str, namespace: str, records: int) -> None:
        """One update or delete, by id, of so many records."""
        if limits := self._limits:
            most = limits.updated_records if operation == "update" else limits.deleted_records
            requests = _Claim(operation, 1, limits.requests)
            self._admit(limits, namespace, requests, _Claim(operation, records, most, "records"))

    def change_by_filter(self, operation: str, namespace: str) -> None:
        """One update or delete by metadata."""
        if limits := self._limits:
            self._admit(limits, namespace, _Claim(f"{operation} by metadata", 1, limits.changes_by_filter))

    def read(self, operation: str) -> None:
        """One fetch, list or describe_index_stats, which are counted for the whole index."""
        if limits := self._limits:
            self._admit(limits, "", _Claim(operation, 1, limits.lists if operation == "list" else limits.reads))

    def _admit(self, limits: PineconeRates, namespace: str, *claims: _Claim) -> None:
        now = self._clock()
        windows = [self._windows[claim.operation, claim.unit, namespace] for claim in claims]
        for window, claim in zip(windows, claims, strict=True):
            window.settle(now - limits.seconds)
            if window.refuses(claim):
                raise _refusal(limits, claim, namespace, window.taken[0][0] + limits.seconds - now)
        for window, claim in zip(windows, claims, strict=True):
            window.take(now, claim.amount)


def _refusal(limits: PineconeRates, claim: _Claim, namespace: str, wait: float) -> ThrottledError:
    where = f"namespace {namespace}" if namespace else "the index"
    window = "second" if limits.seconds == 1 else f"{limits.seconds:g} seconds"
    message = f"Too many {claim.operation} {claim.unit}: the limit is {claim.limit} per {window} for {where}"
    retry_after = max(1, math.ceil(wait)) if limits.retry_after else None
    return ThrottledError(message, retry_after=retry_after, plain=limits.body == "text")
