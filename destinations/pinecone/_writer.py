"""Writing to one index: as many records per request, and as many requests at once, as the store takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from threading import Lock
from typing import Any

from ._bodies import (
    EncodedRecord,
    delete_envelope,
    encode_id,
    encode_update,
    fill,
    update_envelope,
    upsert_envelope,
)
from ._limits import RequestSize, WriterLimits
from ._requests import Requests
from ._requests_verdict import Write
from ._throttle import Throttle
from ._usage import WriteUsage
from ._writer_crew import Crew
from ._writer_outcome import Outcome, Sent
from ._writer_pieces import PieceSender

__all__ = ["IndexWriter", "Sent", "WriterLimits"]


class IndexWriter:
    """Upserts, updates and deletes in one index. Safe from any thread; the pool may be shared with other writers.

    Every method returns when each of its requests has been answered; it reads what it is given only as it is sent, and
    holds no more than `limits.concurrency` requests and one. All of it can be repeated without harm. Raises
    `RetryableError` when the attempts are used up, `CredentialsError` for a refused key and `DestinationError` for what
    is wrong with the index or the project; then some of it may have been written.
    """

    def __init__(
        self, host: str, api_key: str, *, pool: Executor, usage: WriteUsage, limits: WriterLimits | None = None
    ) -> None:
        self._limits = limits or WriterLimits()
        self._requests = Requests(host, api_key, self._limits)
        self._pool = pool
        self._usage = usage
        self._size = RequestSize(self._limits.request_bytes)
        self._lock = Lock()
        self._throttles: dict[str, Throttle] = {}
        self._promising = False

    def upsert(self, namespace: str, records: Iterable[EncodedRecord]) -> Sent:
        """Put whole records in, each in place of the one with its id. No id may come twice."""
        envelope = upsert_envelope(namespace, self._limits.records)
        write = Write(f"upserting into {namespace}", "/vectors/upsert", envelope, counted=True)
        return self._write(namespace, write, records)

    def update(self, namespace: str, changes: Iterable[tuple[str, Mapping[str, Any]]]) -> Sent:
        """Set metadata of records that are there, by id; keys that are not named stay. A request for each record.

        An id that is not there is passed over in silence.
        """
        write = Write(f"updating in {namespace}", "/vectors/update", update_envelope(namespace))
        return self._write(namespace, write, (encode_update(*change) for change in changes))

    def delete(self, namespace: str, ids: Iterable[str]) -> Sent:
        """Take records out. Ids, and even a namespace, that are not there are no failure."""
        envelope = delete_envelope(namespace, self._limits.records)
        write = Write(f"deleting from {namespace}", "/vectors/delete", envelope, needs_namespace=False)
        return self._write(namespace, write, map(encode_id, ids))

    @contextmanager
    def aborting(self) -> Iterator[None]:
        """Break off every request that is under way, or that is begun before the block ends, and let everybody who
        waits for leave to send one see whether they have been cancelled."""
        with self._lock:
            throttles = list(self._throttles.values())
        for throttle in throttles:
            throttle.wake()
        with self._requests.aborting():
            yield

    def close(self) -> None:
        """Close every connection. Safe to call twice."""
        self._requests.close()

    def _write(self, namespace: str, write: Write, records: Iterable[EncodedRecord]) -> Sent:
        throttle = self._throttle(namespace)
        outcome = Outcome(write.what, promising=self._promising)
        sender = PieceSender(write, self._requests, throttle, self._size, self._limits, self._usage, outcome)
        crew = Crew(self._pool, sender.send, lambda: throttle.limit)
        crew.do(fill(records, write.envelope, self._size), sender.give_up)
        self._promising = outcome.promising
        return outcome.sent()

    def _throttle(self, namespace: str) -> Throttle:
        with self._lock:
            return self._throttles.setdefault(namespace, Throttle(self._limits.concurrency))
