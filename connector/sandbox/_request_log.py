"""How often each route was asked, with how much, and how many asked at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

__all__ = ["RequestLog"]


class RequestLog:
    """Counts requests by route name; what no route answers is called ``unknown``. Safe to read from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()
        self._open = 0
        self._peak = 0

    @contextmanager
    def counted(self, name: str, size: int) -> Iterator[None]:
        """Count one request with a body of so many bytes; the block is the time until it is answered."""
        with self._lock:
            self._counts[name] += 1
            self._sizes[name] += size
            self._open += 1
            self._peak = max(self._peak, self._open)
        try:
            yield
        finally:
            with self._lock:
                self._open -= 1

    def counts(self) -> dict[str, int]:
        """Requests by route name since the start or the last reset, refused and spoiled ones included."""
        with self._lock:
            return dict(sorted(self._counts.items()))

    def sizes(self) -> dict[str, int]:
        """Bytes of request bodies by route name since the start or the last reset."""
        with self._lock:
            return dict(sorted(self._sizes.items()))

    @property
    def peak(self) -> int:
        """The most requests that were being answered at once since the start or the last reset."""
        with self._lock:
            return self._peak

    @property
    def total(self) -> int:
        """All requests since the start or the last reset."""
        with self._lock:
            return self._counts.total()

    def reset(self) -> None:
        """Forget everything counted so far."""
        with self._lock:
            self._counts.clear()
            self._sizes.clear()
            self._peak = self._open
