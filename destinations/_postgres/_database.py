"""The connections to a Postgres: a transaction begins with its first statement, and ends when its call is cancelled."""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import Any, Final, Literal, TypeAlias, TypeVar

import psycopg
from psycopg import errors, generators, sql
from psycopg.abc import AdaptContext
from psycopg.adapt import AdaptersMap
from psycopg.pq import ExecStatus, PipelineStatus, TransactionStatus
from psycopg.rows import namedtuple_row
from psycopg.types import datetime
from sqlalchemy import ClauseElement, Connection, Engine, create_engine, event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError

from vectorferry.connector.plugin import DestinationError, LockedError, abandonable, check_cancelled
from vectorferry.destinations._postgres._blockers import is_lock_timeout, lock_holders
from vectorferry.destinations._postgres._session import (
    NEEDED,
    Facts,
    begin_statements,
    overridden,
    read_facts,
    reset_statement,
    session_statements,
)
from vectorferry.destinations._postgres._url import Address

T = TypeVar("T")

Driver: TypeAlias = psycopg.Connection[tuple[object, ...]]
"""The psycopg connection under a SQLAlchemy one."""

_TOLD_AFTER = 5.0
_TOLD_EVERY: Final = 30.0

_PATIENCE = 60.0
"""While this process keeps a connection itself, waiting for one more may be waiting for itself."""

_SECONDS_TO_CANCEL: Final = 2.0
"""For a server that can be reached. One that cannot is left, and finds out by itself."""

_log = logging.getLogger("vectorferry")


@contextmanager
def together(driver: Driver) -> Iterator[None]:
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


def begin_now(driver: Driver) -> None:
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
        self, driver: Driver, statements: Sequence[str], location: str, others: int, *, is_whole: bool = False
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


_DEFAULTS: Final[Mapping[str, Any]] = {
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
        **{name: value for name, value in _DEFAULTS.items() if name not in address.parameters},
    }


_FACTS: Final = "vectorferry facts"
_USED: Final = "vectorferry used"


class Database:
    """One server and its connections. Used from one thread.

    Every transaction begins with what says how it is to be and sets what it relies on (`begin_statements`), which is
    sent together with its first statement.
    """

    def __init__(self, address: Address, location: str | None = None) -> None:
        self.location = location or address.shown
        self.answered = False
        """Whether the server has ever answered: from then on, one that does not is worth waiting for."""
        self._address = address
        self._options = address.parameters.get("options", "")
        self._in_use = 0
        """Connections that are in use just now."""
        url = "postgresql+vectorferry://"
        self._engine: Engine = create_engine(url, creator=self._connect, use_native_hstore=False)
        event.listen(self._engine, "connect", self._look, insert=True)

    @property
    def address(self) -> Address:
        """Where it is, with the password."""
        return self._address

    @property
    def application_name(self) -> str:
        """What this process calls itself there."""
        return self._address.parameters.get("application_name", str(_DEFAULTS["application_name"]))

    def advice(self) -> Iterator[str]:
        """A sentence for each parameter of the address that is not used as it is given."""
        encoding = self._address.parameters.get("client_encoding", "utf8")
        if encoding.lower().replace("-", "") not in {"utf8", "auto"}:
            yield f"client_encoding={encoding} in the `url` is not used: texts are sent as UTF-8"
        for name in overridden(self._options):
            yield f"{name} in the `options` of the `url` is not used: every transaction sets its own"

    @contextmanager
    def plain_transaction(
        self, mode: str | None = None, *, is_whole: bool = False, also: Sequence[str] = ()
    ) -> Iterator[Connection]:
        """A transaction. Commits at the end, or rolls back.

        Args:
            mode: isolation and access, such as `READ_ONLY`; None for one that may write.
            is_whole: it has one statement only, or what is sent `together`, and is committed with that: all of it takes
                one way there and back.
            also: statements that belong to its beginning.

        Raises `LockedError` where somebody's lock was waited for in vain."""
        try:
            with self._begun(mode, is_whole=is_whole, also=also) as connection, connection.begin():
                yield connection
        except (DBAPIError, psycopg.Error) as error:
            if not is_lock_timeout(error):
                raise
            raise LockedError(self._locked()) from error

    def _locked(self) -> str:
        with self._begun() as connection:
            holders = lock_holders(connection)
            connection.rollback()
        return (
            f"a lock that was waited for at {self.location} did not become free. Who may have it: {holders}. "
            "End that transaction, or wait for it, and run again."
        )

    @contextmanager
    def lone_transaction(self) -> Iterator[Connection]:
        """A transaction that holds something while others work. That it is lost at the end, with its connection or its
        server, is no error: what it held is free then too."""
        with self._begun() as connection:
            yield connection
            with suppress(DBAPIError):
                connection.rollback()

    @contextmanager
    def autocommit(self, settings: Mapping[str, str]) -> Iterator[Connection]:
        """For what cannot run inside a transaction, under some settings, which are reset in the end."""
        with self._connected() as connection:
            statements = session_statements(facts_of(connection), self._options, settings)
            try:
                _cancellable(connection).execute_first(self._beginning(connection, statements))
                yield connection
            finally:
                if not connection.invalidated and not driver_of(connection).closed:
                    facts = facts_of(connection)
                    connection.exec_driver_sql(reset_statement(facts, self._options, settings))

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _begun(
        self, mode: str | None = None, *, is_whole: bool = False, also: Sequence[str] = ()
    ) -> Iterator[Connection]:
        with self._connected() as connection:
            statements = [*begin_statements(facts_of(connection), self._options, mode), *also]
            driver = _cancellable(connection)
            driver.begin_later(self._beginning(connection, statements, is_whole=is_whole))
            yield connection

    def _beginning(self, connection: Connection, statements: Sequence[str], *, is_whole: bool = False) -> Beginning:
        return Beginning(driver_of(connection), statements, self.location, self._in_use - 1, is_whole=is_whole)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """One that was used before may have ended since: then another one."""
        connection = self._engine.connect()
        while connection.info.get(_USED, False) and _cancellable(connection).has_ended():
            connection.invalidate()
            connection.close()
            connection = self._engine.connect()
        with connection:
            self.answered = connection.info[_USED] = True
            self._in_use += 1
            try:
                yield connection
            finally:
                self._in_use -= 1

    def _connect(self) -> Driver:
        options = connection_options(self._address)
        connect = partial(CancellableConnection.connect, self._address.conninfo, cursor_factory=Cursor, **options)
        # Looking up a name cannot be interrupted, and a connection that nobody takes is closed.
        return abandonable(connect)

    def _look(self, driver: CancellableConnection, record: Any) -> None:
        """At the server, for the first time."""
        with driver.waiting_for(Beginning(driver, (), self.location, self._in_use)):
            facts = record.info[_FACTS] = read_facts(driver)
        if facts.ends_idle_sessions:
            driver.execute("SET idle_session_timeout = 0")  # the only setting that is about the time in between


def facts_of(connection: Connection) -> Facts:
    """What the server said about itself."""
    facts: Facts = connection.info[_FACTS]
    return facts


def driver_of(connection: Connection) -> Driver:
    """The psycopg connection under a SQLAlchemy one, inside the same transaction."""
    raw = connection.connection.driver_connection
    if not isinstance(raw, psycopg.Connection):
        raise TypeError(f"expected a psycopg connection, got {type(raw).__name__}")
    return raw


def _cancellable(connection: Connection) -> CancellableConnection:
    driver = driver_of(connection)
    assert isinstance(driver, CancellableConnection)
    return driver


def answers(connection: Connection, *statements: ClauseElement) -> list[list[Any]]:
    """The rows of each of these statements, none of which needs the answer to another one: they are sent together."""
    driver = driver_of(connection)
    compiled = [each.compile(dialect=connection.dialect) for each in statements]
    with together(driver):
        cursors = [
            driver.cursor(row_factory=namedtuple_row).execute(str(each).encode(), each.params) for each in compiled
        ]
    return [cursor.fetchall() for cursor in cursors]


Question: TypeAlias = tuple[sql.Composed, Sequence[object]]
"""A statement, and what comes in its places."""


def plain_answers(connection: Connection, questions: Sequence[Question]) -> list[list[tuple[Any, ...]]]:
    """The same for statements that each batch asks: SQLAlchemy takes longer over one than the server does. They are
    answered in binary, so that no hash has to be spelt. One that gives no rows has none."""
    driver = driver_of(connection)
    if not questions:
        return []
    with together(driver):
        cursors = [driver.cursor().execute(statement, values, binary=True) for statement, values in questions]
    return [cursor.fetchall() if cursor.description else [] for cursor in cursors]


class Dialect(PGDialect_psycopg):
    """That of SQLAlchemy, without the four questions that it asks of each server before anything else."""

    supports_statement_cache = True

    def _get_server_version_info(self, connection: Connection) -> tuple[int, int]:
        return divmod(driver_of(connection).info.server_version, 10_000)

    def _get_default_schema_name(self, _: Connection) -> str:
        """Where names without a schema are looked for: none of ours is without."""
        return "pg_catalog"

    def get_default_isolation_level(self, _: Any) -> Literal["READ COMMITTED"]:
        """What every transaction says of itself; nothing of ours asks SQLAlchemy to change it."""
        return "READ COMMITTED"

    def _set_backslash_escapes(self, _: Connection) -> None:
        """Every transaction sets it so."""
        self._backslash_escapes = False


registry.register("postgresql.vectorferry", __name__, Dialect.__name__)
