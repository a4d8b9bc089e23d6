"""Writing to one index: as many records per request, and as many requests at once, as the store takes."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from ssl import SSLContext
from threading import Condition, Event, Lock
from typing import Any, Final

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from vectorferry.connector.plugin import (
    Delivery,
    DestinationError,
    RetryableError,
    Visibility,
    check_cancelled,
    is_cancelled,
)
from vectorferry.destinations.pinecone._bodies import (
    Body,
    EncodedRecord,
    delete_envelope,
    encode_id,
    encode_update,
    fill,
    update_envelope,
    upsert_envelope,
)
from vectorferry.destinations.pinecone._deletes import SharedDeletes
from vectorferry.destinations.pinecone._requests import Accepted, Oversized, Requests, Verdict, Write, WriterLimits

_HOPELESS: Final = 20
"""So many records that are refused in the same words, and none accepted, show that it is not about the records."""

_GLANCE_SECONDS: Final = 0.1
_LATENESS: Final = 0.01
"""Seconds that a thread may wake up too late without the next one waiting for it. They are taken from what a second
holds less than it may, and so have to be fewer than that leaves (30 ms)."""

_UNIT_BYTES: Final = 1_000
_LEAST_UNITS: Final = 5


class IndexWriter:
    """Upserts, updates and deletes in one index. Safe from any thread; the pool may be shared with other writers.

    Every method returns when each of its requests has been answered; it reads what it is given only as it is sent, and
    holds no more than `limits.concurrency` requests and one, or its share of them while others write. All of it can be
    repeated without harm. Raises `RetryableError` when the attempts are used up, `CredentialsError` for a refused key
    and `DestinationError` for what is wrong with the index or the project; then some of it may have been written.
    """

    def __init__(
        self,
        host: str,
        api_key: str,
        *,
        pool: Executor,
        usage: WriteUsage,
        limits: WriterLimits | None = None,
        deletes: SharedDeletes | None = None,
        tls: SSLContext | None = None,
    ) -> None:
        self._limits = limits or WriterLimits()
        self._deletes = deletes
        self._requests = Requests(host, api_key, self._limits, tls)
        self._pool = pool
        self._usage = usage
        self._size = RequestSize(self._limits.request_bytes)
        self._lock = Lock()
        self._throttles: dict[str, Throttle] = {}
        self._writes = 0
        """That are under way."""
        self._promising = False

    def upsert(self, namespace: str, records: Iterable[EncodedRecord]) -> WriteResult:
        """Put whole records in, each in place of the one with its id. No id may come twice."""
        envelope, rates = upsert_envelope(namespace, self._limits.records), self._limits.rates

        def seconds(piece: Sequence[EncodedRecord]) -> float:
            return rates.upsert_seconds(sum(record.units_bytes for record in piece)) if rates else 0.0

        write = Write(f"upserting into {namespace}", "/vectors/upsert", envelope, seconds, counted=True)
        return self._write(namespace, write, records)

    def update(self, namespace: str, changes: Iterable[tuple[str, Mapping[str, Any]]]) -> WriteResult:
        """Set metadata of records that are there, by id; keys that are not named stay. A request for each record.

        An id that is not there is passed over in silence.
        """
        rates = self._limits.rates
        seconds = 1 / rates.requests if rates else 0.0
        write = Write(f"updating in {namespace}", "/vectors/update", update_envelope(namespace), lambda _: seconds)
        return self._write(namespace, write, (encode_update(*change) for change in changes))

    def delete(self, namespace: str, ids: Iterable[str]) -> WriteResult:
        """Take records out. Ids, and even a namespace, that are not there are no failure."""
        envelope, rates = delete_envelope(namespace, self._limits.records), self._limits.rates

        def seconds(piece: Sequence[EncodedRecord]) -> float:
            return rates.delete_seconds(len(piece)) if rates else 0.0

        write = Write(f"deleting from {namespace}", "/vectors/delete", envelope, seconds, needs_namespace=False)
        if self._deletes is None:
            return self._write(namespace, write, map(encode_id, ids))
        result = WriteResult()
        for some in self._deletes.parts(ids):
            self._throttle(namespace).rest(write.path, self._deletes.wait(len(some)))
            part = self._write(namespace, write, map(encode_id, some))
            result = WriteResult(max(result.lsn, part.lsn), result.refused | part.refused)
        return result

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

    def _write(self, namespace: str, write: Write, records: Iterable[EncodedRecord]) -> WriteResult:
        throttle = self._throttle(namespace)
        outcome = Outcome(write.action, promising=self._promising)
        deletes = None if write.needs_namespace else self._deletes
        sender = PieceSender(write, self._requests, throttle, self._size, self._limits, self._usage, outcome, deletes)
        with self._sharing():
            crew = Crew(self._pool, sender.send, lambda: max(throttle.limit // self._writes, 1))
            crew.do(fill(records, write.envelope, self._size), sender.give_up)
        self._promising = outcome.promising
        return outcome.result()

    @contextmanager
    def _sharing(self) -> Iterator[None]:
        """Let other writes hold fewer requests until the block ends: what waits for leave to be sent takes memory."""
        with self._lock:
            self._writes += 1
        try:
            yield
        finally:
            with self._lock:
                self._writes -= 1

    def _throttle(self, namespace: str) -> Throttle:
        with self._lock:
            return self._throttles.setdefault(namespace, Throttle(self._limits.concurrency))


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The highest log sequence number of the answers (0 when none says it), and what the store refused, in its words.

    `refused` is by record id; everything else has been acknowledged.
    """

    lsn: int = 0
    refused: dict[str, str] = field(default_factory=dict)


class PieceSender:
    """Sends pieces of one write. Safe from any thread, until it is told to give up."""

    def __init__(
        self,
        write: Write,
        requests: Requests,
        throttle: Throttle,
        size: RequestSize,
        limits: WriterLimits,
        usage: WriteUsage,
        outcome: Outcome,
        deletes: SharedDeletes | None,
    ) -> None:
        self._deletes = deletes
        self._write = write
        self._requests = requests
        self._throttle = throttle
        self._size = size
        self._limits = limits
        self._usage = usage
        self._outcome = outcome
        self._given_up = Event()
        self._backoff = wait_random_exponential(limits.first_wait, limits.longest_wait)
        self._retrying = Retrying(
            stop=stop_after_attempt(limits.attempts),
            retry=retry_if_exception_type(RetryableError),
            wait=self._wait,
            sleep=self._sleep,
            reraise=True,
        )

    def send(self, piece: list[EncodedRecord]) -> None:
        """Have these records acknowledged, or refused one by one.

        A request that is refused for a record of it is halved until the record is alone. Everything here can be sent
        again without harm, so a request whose answer was lost is. Raises `RetryableError` when the attempts are used
        up, and a `StopError` for what is not about these records.
        """
        body = self._write.envelope.body(piece)
        verdict = self._answered(body, len(piece), self._write.seconds(piece))
        if isinstance(verdict, Accepted):
            self._usage.accepted(sum(record.units_bytes for record in piece))
            self._outcome.accepted(verdict.lsn)
        elif len(piece) == 1:
            self._outcome.refused(piece[0].id, verdict.words)
        else:
            if isinstance(verdict, Oversized):
                self._size.was_too_large(len(body))
            middle = len(piece) // 2
            self.send(piece[:middle])
            self.send(piece[middle:])

    def give_up(self) -> None:
        """Send nothing more, and wait for nothing more than the answers that are under way."""
        self._given_up.set()
        self._throttle.wake()

    def _answered(self, body: Body, records: int, seconds: float) -> Verdict:
        tries = count(1)

        def attempt() -> Verdict:
            with self._throttle.permit(self._has_given_up, self._write.path, seconds) as permit:
                if permit is None:
                    check_cancelled()
                    raise _GivenUpError
                self._usage.sent(len(body), again=next(tries) > 1)
                return self._attempt(permit, body, records)

        try:
            return self._retrying(attempt)
        except RetryableError as error:
            failure = RetryableError(f"{error}; tried {self._limits.attempts} times", after=error.after)
        raise failure

    def _attempt(self, permit: Permit, body: Body, records: int) -> Verdict:
        try:
            verdict = self._requests.post(self._write, body, records)
        except RetryableError as error:
            wait = min(error.after or 0.0, self._limits.longest_retry_after)
            permit.pushed_back(wait)
            if self._deletes is not None:
                self._deletes.tell(wait)
            raise
        permit.succeeded()
        return verdict

    def _has_given_up(self) -> bool:
        """Also when this is the thread whose call has been cancelled, before it comes to say so."""
        return self._given_up.is_set() or is_cancelled()

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._has_given_up():
            self._given_up.wait(min(left, _GLANCE_SECONDS))

    def _wait(self, state: RetryCallState) -> float:
        """When the store says how long to wait, the throttle holds back everybody; the rest spreads the herd."""
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, RetryableError) and error.after:
            return random.uniform(0, self._limits.first_wait)
        return self._backoff(state)


class _GivenUpError(Exception):
    """The write has failed elsewhere; nobody waits for this request any more."""


class Crew:
    """Takes pieces only as fast as they are sent: at most `most()` are under way, and one more is ready.

    When the pool has begun none of them, the caller sends one itself. So nobody ever waits for a thread of the pool,
    and a caller that occupies the only one gets on as well.
    """

    def __init__(self, pool: Executor, work: Callable[[list[EncodedRecord]], None], most: Callable[[], int]) -> None:
        self._pool = pool
        self._work = work
        self._most = most
        self._jobs: dict[Future[None], list[EncodedRecord]] = {}

    def do(self, pieces: Iterable[list[EncodedRecord]], give_up: Callable[[], None]) -> None:
        """Do all of them. Raises the first failure, once `give_up` was called and everything under way has ended."""
        try:
            for piece in pieces:
                self._jobs[self._pool.submit(self._work, piece)] = piece
                while len(self._jobs) > self._most():
                    self._finish_one()
            while self._jobs:
                self._finish_one()
        except BaseException:
            give_up()
            wait([future for future in self._jobs if not future.cancel()])
            raise

    def _finish_one(self) -> None:
        """Not on this thread while others are at it: it would not hand out the next piece then."""
        if not any(future.running() or future.done() for future in self._jobs):
            self._do_one()
            return
        check_cancelled()
        for future in wait(self._jobs, timeout=_GLANCE_SECONDS, return_when=FIRST_COMPLETED).done:
            del self._jobs[future]
            future.result()

    def _do_one(self) -> None:
        """Take back a piece that nobody has begun, if there still is one, and do it here."""
        future = next((future for future in self._jobs if future.cancel()), None)
        if future is not None:
            self._work(self._jobs.pop(future))


class Outcome:
    """Collects answers from many threads. `promising` says whether the index is known to take records at all."""

    def __init__(self, action: str, *, promising: bool) -> None:
        self.promising = promising
        self._action = action
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
            raise DestinationError(f"Pinecone refuses every record while {self._action} ({words}).")

    def result(self) -> WriteResult:
        """All of it."""
        with self._lock:
            return WriteResult(self._lsn, dict(self._refused))


class Throttle:
    """Concurrency by additive increase and multiplicative decrease, and requests of each kind evenly in time. Safe from
    any thread.

    It grows by one request per round of answers, up to `ceiling`, and is halved when the store pushes back: once for
    all the requests that were in flight together, as they suffer from the same overload.
    """

    def __init__(
        self, ceiling: int, *, clock: Callable[[], float] = time.monotonic, changed: Condition | None = None
    ) -> None:
        self._ceiling = ceiling
        self._clock = clock
        self._changed = changed or Condition()
        self._limit = float(ceiling)
        self._open = 0
        self._burst = 0
        self._paused_until = clock()
        self._next_at: defaultdict[str, float] = defaultdict(float)
        """By kind, when the next request may go."""

    @property
    def limit(self) -> int:
        """How many requests may be in flight now."""
        return int(self._limit)

    @contextmanager
    def permit(
        self, given_up: Callable[[], bool] = lambda: False, kind: str = "", seconds: float = 0.0
    ) -> Iterator[Permit | None]:
        """Wait for leave to send a request, and keep it until the block ends; None once `given_up()` is true.

        The next one of its kind may go after so many `seconds`.
        """
        with self._changed:
            admitted = self._wait(given_up, kind, seconds)
            self._open += admitted
            permit = Permit(self, self._burst) if admitted else None
        try:
            yield permit
        finally:
            with self._changed:
                self._open -= admitted
                self._changed.notify_all()

    def wake(self) -> None:
        """Let everybody who waits see whether they have given up."""
        with self._changed:
            self._changed.notify_all()

    def rest(self, kind: str, seconds: float) -> None:
        """Let no request of this kind go for so long."""
        with self._changed:
            self._next_at[kind] = max(self._next_at[kind], self._clock() + seconds)

    def _wait(self, given_up: Callable[[], bool], kind: str, seconds: float) -> bool:
        while not given_up():
            now = self._clock()
            hold = max(self._paused_until, self._next_at[kind]) - now
            if hold <= 0 and self._open < self.limit:
                self._next_at[kind] = max(self._next_at[kind], now - _LATENESS) + seconds
                return True
            self._changed.wait(hold if hold > 0 else None)
        return False

    def _grow(self, burst: int) -> None:
        with self._changed:
            if burst == self._burst and self._limit < self._ceiling:
                self._limit = min(self._ceiling, self._limit + 1 / self._limit)
                self._changed.notify_all()

    def _shrink(self, burst: int, after: float | None) -> None:
        with self._changed:
            if burst == self._burst:
                self._burst += 1
                self._limit = max(1.0, self._limit / 2)
            if after:
                self._paused_until = max(self._paused_until, self._clock() + after)


class Permit:
    """Leave to send one request. Whoever has it says how the request ended, if it ended in an answer."""

    def __init__(self, throttle: Throttle, burst: int) -> None:
        self._throttle = throttle
        self._burst = burst

    def succeeded(self) -> None:
        """The request was answered as it should be."""
        self._throttle._grow(self._burst)

    def pushed_back(self, after: float | None = None) -> None:
        """The store is overloaded, and asks for `after` seconds of peace if it says so."""
        self._throttle._shrink(self._burst, after)


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


def write_units(size: int) -> int:
    """What Pinecone bills for a write of so many bytes: a unit for each started KB, at least five for a request.

    Records that are replaced, updated or deleted are billed once more with the size that they had, which is not known
    here; so this is the least that a request costs.
    (https://docs.pinecone.io/guides/manage-cost/understanding-cost, as of July 2025)
    """
    return max(_LEAST_UNITS, -(-size // _UNIT_BYTES))
