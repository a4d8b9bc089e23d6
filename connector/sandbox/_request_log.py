"""How often each route was asked."""

from __future__ import annotations

from collections import Counter
from threading import Lock

__all__ = ["RequestLog"]


class RequestLog:
    """Counts requests by route name. Safe to read from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[str] = Counter()

    def add(self, name: str) -> None:
        """Count one request; what no route answers is counted as ``unknown``."""
        with self._lock:
            self._counts[name] += 1

    def counts(self) -> dict[str, int]:
        """Requests by route name since the start or the last reset, refused and spoiled ones included."""
        with self._lock:
            return dict(sorted(self._counts.items()))

    @property
    def total(self) -> int:
        """All requests since the start or the last reset."""
        with self._lock:
            return self._counts.total()

    def reset(self) -> None:
        """Forget everything counted so far."""
        with self._lock:
            self._counts.clear()
