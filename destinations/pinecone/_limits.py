"""How much is sent to Pinecone at once, for how long it is tried, and what writing has cost so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Final

from vectorferry.connector.plugin import Delivery, Visibility

__all__ = ["RequestSize", "WriteUsage", "WriterLimits", "write_units"]


@dataclass(frozen=True, slots=True)
class WriterLimits:
    """Sizes in bytes, times in seconds.

    Pinecone takes at most 1,000 records and 2 MB in an upsert and 1,000 ids in a delete. Its documentation does not
    settle whether the 2 MB are those of the float32 values or of the JSON text, which is three times as long;
    `request_bytes` bounds the text, which is safe under either reading.
    (https://docs.pinecone.io/reference/api/database-limits)
    """

    request_bytes: int = 2_000_000
    records: int = 1_000
    concurrency: int = 16
    timeout: float = 30.0
    attempts: int = 6
    first_wait: float = 0.5
    longest_wait: float = 20.0
    longest_retry_after: float = 60.0
    answer_bytes: int = 64_000


class RequestSize:
    """How large a request may be: what was said at first, or half of what the store has refused since."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()

    def __call__(self) -> int:
        """In bytes."""
        return self._most

    def was_too_large(self, size: int) -> None:
        """A request of so many bytes, with more than one record, was refused."""
        with self._lock:
            self._most = min(self._most, size // 2)


# What writing has cost so far.


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
