"""One connection to a Postgres: a transaction begins with its first statement, and ends when its call is cancelled."""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Final, TypeVar

import psycopg
from psycopg import errors, generators
from psycopg.abc import AdaptContext
from psycopg.adapt import AdaptersMap
from psycopg.pq import ExecStatus, PipelineStatus, TransactionStatus
from psycopg.types import datetime

from vectorferry.connector.plugin import DestinationError, check_cancelled
from vectorferry.destinations._postgres._session import NEEDED
from vectorferry.destinations._postgres._url import Address

T = TypeVar("T")
_log = logging.getLogger("vectorferry")

_TOLD_AFTER = 5.0
_TOLD_EVERY: Final = 30.0

_PATIENCE = 60.0
"""While this process keeps a connection itself, waiting for one more may be waiting for itself."""

_SECONDS_TO_CANCEL: Final = 2.0
"""For a server that can be reached. One that cannot is left, and finds out by itself."""


@contextmanager
def together(driver: psycopg.Connection[Any]) -> Iterator[None]:
    """Send what is executed meanwhile without waiting for answers in between: all of it takes one way to the server and
    back. Nothing behind an error is executed. What a cursor has is known at the end of the block."""
    assert isinstance(driver, CancellableConnection)
    beginning = driver.take_beginning()
    # Not by a libpq before 14; psycopg's binary packages have a newer one.
    is_supported = psycopg.Pipeline.is_supported()
    if driver.has_ended() or (beginning and not is_supported):
        # Which reads what a server says before it ends a connection; a pipeline does not.
        driver.execute_first(beginning or Beginning(driver, (), "", 0))
        beginning = None
    if not is_supported:
        yield
        return
    error: psycopg.Error | None = None
    try:
        with driver.waiting_for(beginning) if beginning else nullcontext(), driver.pipeline():
            try:
                if beginning:
                    beginning.send()
                yield
                if beginning:
                    driver.end_with(beginning)
            except psycopg.Error as first:  # psycopg would go on to log what became of the others
                error = first
    except psycopg.Error as last:
        error = error or _first(last)
    finally:
        if driver.pgconn.pipeline_status != PipelineStatus.OFF:
            driver.close()  # it was lost in the middle, and nothing can be said to it any more
    if error is not None:
        raise (beginning and beginning.explained(error)) or error


def _first(last: psycopg.Error) -> psycopg.Error:
    """What the server has said, where psycopg tells what came of that."""
    is_told = last.sqlstate is not None and not isinstance(last, errors.PipelineAborted)
    return last.__context__ if isinstance(last.__context__, psycopg.Error) and not is_told else last


class CancellableConnection(psycopg.Connection[tuple[Any, ...]]):
    """Looks ten times a second, while it waits for the server, whether the call on this thread has been cancelled.

    Any other exception that says to stop (Dagster's is no `KeyboardInterrupt`) ends the statement as well.

    What begins a transaction is not sent before there is something to send with it.
    """

    _beginning: Beginning | None = None
    _waits_for: Beginning | None = None
    _is_over = False

    def begin_later(self, beginning: Beginning) -> None:
        """Begin a transaction so, together with the first statement. One that is whole ends with it, too."""
        self._beginning, self._is_over = beginning, False

    def begin_now(self) -> None:
        """Begin a transaction that is to begin later: what comes may be several statements in one text."""
        if self._beginning is not None:
            beginning, self._beginning = self._beginning, None
            self.execute_first(beginning)

    @property
    def is_to_begin(self) -> bool:
        """Whether the next statement is the first one of a transaction, or one too many."""
        is_first = self._beginning is not None or self._is_over
        return is_first and self.pgconn.pipeline_status == PipelineStatus.OFF

    def take_beginning(self) -> Beginning | None:
        """What is to be sent before the statement that comes now."""
        if self._is_over:
            raise RuntimeError("a transaction that was to be one message was to get another one")
        beginning, self._beginning = self._beginning, None
        return beginning

    def end_with(self, beginning: Beginning) -> None:
        """Send, in the same pipeline, what ends a transaction that is whole."""
        if beginning.is_whole:
            beginning.send_end()
            self._is_over = True

    def execute_first(self, beginning: Beginning) -> None:
        """Execute statements whose answers nobody needs, at once and in one message."""
        with self.waiting_for(beginning):
            self.pgconn.send_query(beginning.text.encode())
            for result in self.wait(generators.execute(self.pgconn)):
                if result.status == ExecStatus.FATAL_ERROR:
                    raise errors.error_from_result(result)

    @contextmanager
    def waiting_for(self, beginning: Beginning) -> Iterator[None]:
        """Have it look, as long as nothing has been answered."""
        self._waits_for = beginning
        beginning.start()
        try:
            yield
        finally:
            self._waits_for = None

    def commit(self) -> None:
        """Of a transaction without a statement there is nothing to commit."""
        self._is_over = False
        if self._beginning is None:
            super().commit()
        self._beginning = None

    def rollback(self) -> None:
        """Of a transaction without a statement there is nothing to roll back, nor of one that was lost with its
        connection: what the server said as it ended that is not to be hidden by another error. A pool says that of a
        server in an answer that nobody has asked for, so that the next one is none to a rollback."""
        self._is_over = False
        if self._beginning is None and not self.closed:
            try:
                super().rollback()
            except psycopg.Error:
                self.close()  # which ends whatever was begun
        self._beginning = None

    def has_ended(self) -> bool:
        """Whether the server has closed it, or said something in the meantime, as before it does that."""
        if self.closed:
            return True
        with selectors.DefaultSelector() as selector:
            selector.register(self.pgconn.socket, selectors.EVENT_READ)
            return bool(selector.select(0))

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **options: Any) -> T:
        """The answer. Ends the statement on the server too when the call is cancelled."""
        self.begin_now()  # where what comes is no plain statement, which would have taken it along
        try:
            return super().wait(_watched(gen, self._look), *args, **options)
        except (Exception, KeyboardInterrupt, SystemExit):
            raise  # psycopg itself ends the statement for the last two
        except BaseException:
            self._end_statement(gen)
            raise

    def _look(self) -> None:
        check_cancelled()
        if self._waits_for is not None:
            self._waits_for.look()

    def _end_statement(self, gen: Generator[Any, Any, Any]) -> None:
        if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
            return
        try:
            self.cancel_safe(timeout=_SECONDS_TO_CANCEL)
            super().wait(_watched(gen, _Deadline(_SECONDS_TO_CANCEL)))
        except psycopg.errors.QueryCanceled:
            pass
        except psycopg.Error:
            self.close()


def begin_now(driver: psycopg.Connection[Any]) -> None:
    """Have the transaction begun: whoever gets this connection may execute several statements as one text."""
    if isinstance(driver, CancellableConnection):
        driver.begin_now()


class Cursor(psycopg.Cursor[Any]):
    """Takes along what begins a transaction, where it executes the first statement of one."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Cursor:
        """As psycopg does."""
        connection = self.connection
        assert isinstance(connection, CancellableConnection)
        with together(connection) if connection.is_to_begin else nullcontext():
            super().execute(query, params, **options)
        return self


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def __call__(self) -> None:
        if time.monotonic() > self._end:
            raise psycopg.OperationalError("the server does not end the statement")


def _watched(gen: Generator[Any, Any, T], look: Callable[[], None]) -> Generator[Any, Any, T]:
    """What psycopg drives, with a look each time that it has waited in vain (a tenth of a second, its own interval)."""
    try:
        state = next(gen)
        while True:
            ready = yield state
            if not ready:
                look()
            state = gen.send(ready)
    except StopIteration as end:
        answer: T = end.value
        return answer


class Beginning:
    """What begins a transaction, or sets up a session: the statements, and patience with whoever is to answer them.

    Behind a pooler, that may be nobody: then this tells so every now and then. `others` is how many other connections
    this process keeps there meanwhile, each in a transaction. Raises `DestinationError`, with the connection closed,
    when it has waited for a minute and keeps some.
    """

    def __init__(
        self,
        driver: psycopg.Connection[Any],
        statements: Sequence[str],
        location: str,
        others: int,
        *,
        is_whole: bool = False,
    ) -> None:
        self.statements = statements
        self.is_whole = is_whole
        self._driver = driver
        self._location = location
        self._others = others
        self._began = 0.0
        self._tell_at = _TOLD_AFTER
        self._first: psycopg.Cursor[Any] | None = None

    @property
    def text(self) -> str:
        """All of them, for one message."""
        return "; ".join(self.statements)

    def start(self) -> None:
        """From now on they are waited for."""
        self._began = time.monotonic()

    def send(self) -> None:
        """Queue them, in a pipeline, and have them answered whatever comes behind them."""
        self._first, *_ = [psycopg.Cursor(self._driver).execute(each.encode()) for each in self.statements]
        self._driver.pgconn.send_flush_request()

    def send_end(self) -> None:
        """Queue what ends a transaction of one statement."""
        psycopg.Cursor(self._driver).execute("COMMIT")

    @property
    def is_answered(self) -> bool:
        """Whether somebody has answered the first of them."""
        return self._first is not None and self._first.pgresult is not None

    def explained(self, error: BaseException) -> psycopg.Error | None:
        """What stands for an error, where a connection was closed before anything of it was answered. What a pool says
        as it does that is lost in a pipeline."""
        waited = time.monotonic() - self._began
        if self.is_answered or waited < _TOLD_AFTER or not self._driver.closed:
            return None
        said = f"nothing was answered for {waited:.0f} s, and then the connection was closed (query_wait_timeout?)"
        explained = psycopg.OperationalError(said)
        explained.__cause__ = error
        return explained

    def look(self) -> None:
        """Tell that nothing has answered yet, if that is so."""
        waited = time.monotonic() - self._began
        if self.is_answered:
            return
        if self._others and waited >= _PATIENCE:
            self._driver.close()
            raise DestinationError(
                f"Postgres at {self._location} gave no further connection for {waited:.0f} s, while this process keeps "
                f"{self._others}: the pool in between is too small.\n{NEEDED}"
            )
        if waited >= self._tell_at:
            keeps = f" beside the {self._others} that this process keeps" if self._others else ""
            _log.warning(
                "waiting for Postgres at %s for %.0f s now: a pool in between has no connection to give%s, "
                "or the server is overloaded",
                self._location,
                waited,
                keeps,
            )
            self._tell_at = waited + _TOLD_EVERY


DEFAULTS: Final[Mapping[str, Any]] = {
    "connect_timeout": 10,
    "application_name": "vectorferry",
    # Otherwise a sync would wait for hours for a server whose machine has vanished without a word.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 6,
    "tcp_user_timeout": 90_000,
}
"""Of a connection, where its address says nothing else."""


class DateLoader(datetime.DateLoader):
    """Of a date as every transaction of ours has it written, and so each of the two below.

    psycopg reads how a server writes them from what it was told last. What a transaction has set itself it is told at
    the end of the message, when values of its first statement have been read (since Postgres 14).
    """

    def __init__(self, oid: int, _: AdaptContext | None = None) -> None:
        super().__init__(oid)  # without a connection: ISO, in UTC


class TimestampLoader(datetime.TimestampLoader):
    """Of a time without a zone."""

    def __init__(self, oid: int, _: AdaptContext | None = None) -> None:
        super().__init__(oid)


class TimestamptzLoader(datetime.TimestamptzLoader):
    """Of a time with a zone."""

    def __init__(self, oid: int, _: AdaptContext | None = None) -> None:
        super().__init__(oid)


def _adapters() -> AdaptersMap:
    adapters = AdaptersMap(psycopg.adapters)
    for loader in (DateLoader, TimestampLoader, TimestamptzLoader):
        adapters.register_loader(loader.__name__.removesuffix("Loader").lower(), loader)
    return adapters


_ADAPTERS: Final = _adapters()


def connection_options(address: Address) -> dict[str, Any]:
    """How every connection to it is made, besides what the address says."""
    return {
        # Transactions are begun by hand, in the message that also holds their settings.
        "autocommit": True,
        # No server-side prepared statements: they break behind a transaction pooler, and ours run once.
        "prepare_threshold": None,
        # Text and JSON are sent as UTF-8, whatever the environment's PGCLIENTENCODING says.
        "client_encoding": "utf8",
        "context": _ADAPTERS,
        **{name: value for name, value in DEFAULTS.items() if name not in address.parameters},
    }
