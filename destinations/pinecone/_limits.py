"""How much is sent to Pinecone at once, and for how long it is tried."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

__all__ = ["RequestSize", "WriterLimits"]


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
