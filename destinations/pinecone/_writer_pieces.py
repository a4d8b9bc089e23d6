"""One write's requests: sent until they are answered, and cut up where the store does not take them whole."""

from __future__ import annotations

import random
import time
from itertools import count
from threading import Event
from typing import Final

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from vectorferry.connector import RetryableError, check_cancelled, is_cancelled

from ._bodies import Body, EncodedRecord
from ._limits import RequestSize, WriterLimits
from ._requests import Requests
from ._requests_verdict import Accepted, Oversized, Verdict, Write
from ._throttle import Throttle, Turn
from ._usage import WriteUsage
from ._writer_outcome import Outcome

__all__ = ["PieceSender"]

_GLANCE_SECONDS: Final = 0.1


class _GivenUpError(Exception):
    """The write has failed elsewhere; nobody waits for this request any more."""


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
    ) -> None:
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
        verdict = self._answered(body, len(piece))
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

    def _answered(self, body: Body, records: int) -> Verdict:
        tries = count(1)

        def attempt() -> Verdict:
            with self._throttle.turn(self._has_given_up) as turn:
                if turn is None:
                    check_cancelled()
                    raise _GivenUpError
                self._usage.sent(len(body), again=next(tries) > 1)
                return self._attempt(turn, body, records)

        try:
            return self._retrying(attempt)
        except RetryableError as error:
            failure = RetryableError(f"{error}; tried {self._limits.attempts} times", after=error.after)
        raise failure

    def _attempt(self, turn: Turn, body: Body, records: int) -> Verdict:
        try:
            verdict = self._requests.post(self._write, body, records)
        except RetryableError as error:
            turn.pushed_back(min(error.after or 0.0, self._limits.longest_retry_after))
            raise
        turn.went_well()
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
