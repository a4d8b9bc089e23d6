"""A Postgres and the connections to it, under SQLAlchemy: what transactions there are, and what is asked in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, Literal, TypeAlias

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row
from sqlalchemy import ClauseElement, Connection, Engine, create_engine, event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError

from vectorferry.connector.plugin import LockedError, abandonable
from vectorferry.destinations._postgres._blockers import is_lock_timeout, lock_holders
from vectorferry.destinations._postgres._connection import (
    DEFAULTS,
    Beginning,
    CancellableConnection,
    Cursor,
    connection_options,
    together,
)
from vectorferry.destinations._postgres._session import (
    Facts,
    begin_statements,
    overridden,
    read_facts,
    reset_statement,
    session_statements,
)
from vectorferry.destinations._postgres._url import Address

Driver: TypeAlias = psycopg.Connection[tuple[object, ...]]
"""The psycopg connection under a SQLAlchemy one."""


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
        return self._address.parameters.get("application_name", str(DEFAULTS["application_name"]))

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
