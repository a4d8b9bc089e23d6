"""What became of the records of one write."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from vectorferry.connector import DestinationError

__all__ = ["Outcome", "Sent"]

_HOPELESS: Final = 20


@dataclass(frozen=True, slots=True)
class Sent:
    """The highest log sequence number of the answers (0 when none told it), and what the store refused, in its words.

    `refused` is by record id; everything else has been acknowledged.
    """

    lsn: int = 0
    refused: dict[str, str] = field(default_factory=dict)


class Outcome:
    """Collects answers from many threads. `promising` says whether the index is known to take records at all."""

    def __init__(self, what: str, *, promising: bool) -> None:
        self.promising = promising
        self._what = what
        self._lock = Lock()
        self._lsn = 0
        self._refused: dict[str, str] = {}

    def accepted(self, lsn: int) -> None:
        """A request was accepted."""
        with self._lock:
            self.promising = True
            self._lsn = max(self._lsn, lsn)

    def refused(self, record_id: str, words: str) -> None:
        """One record was refused, by itself.

        Raises `DestinationError` when nothing but the same refusal has come so far: that is not about the records.
        """
        with self._lock:
            self._refused[record_id] = words
            hopeless = len(self._refused) >= _HOPELESS and len({*self._refused.values()}) == 1
        if hopeless and not self.promising:
            raise DestinationError(f"Pinecone refuses every record while {self._what} ({words}).")

    def sent(self) -> Sent:
        """All of it."""
        with self._lock:
            return Sent(self._lsn, dict(self._refused))
