"""What writing has cost so far."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock
from typing import Final

from vectorferry.connector import Delivery, Visibility

__all__ = ["WriteUsage", "write_units"]

_UNIT_BYTES: Final = 1_000
_LEAST_UNITS: Final = 5


def write_units(size: int) -> int:
    """What Pinecone bills for a write of so many bytes: a unit for each started KB, at least five for a request.

    Records that are replaced, updated or deleted are billed once more with the size that they had, which is not known
    here; so this is the least that a request costs.
    (https://docs.pinecone.io/guides/manage-cost/understanding-cost, as of July 2025)
    """
    return max(_LEAST_UNITS, -(-size // _UNIT_BYTES))


class WriteUsage:
    """Counts requests of any number of writers. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._requests = 0
        self._retries = 0
        self._bytes = 0
        self._write_units = 0

    def sent(self, size: int, *, again: bool = False) -> None:
        """One request with a body of so many bytes; `again` when the same one was sent before."""
        with self._lock:
            self._requests += 1
            self._retries += again
            self._bytes += size

    def accepted(self, size: int) -> None:
        """One request was accepted that wrote so many bytes: ids, metadata, and numbers as float32."""
        with self._lock:
            self._write_units += write_units(size)

    def delivery(self, places: Iterable[Visibility] = ()) -> Delivery:
        """Everything that was counted, with how far queries see it."""
        with self._lock:
            return Delivery(self._requests, self._retries, self._bytes, self._write_units, list(places))
