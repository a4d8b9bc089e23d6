"""The connection: transactions, and the driver beneath SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from connector import abandonable

from ._cancellation import CancellableConnection
from ._url import shown

__all__ = ["Database", "driver_of"]

_SETTING = text("SELECT set_config(:name, :value, false)")


class Database:
    """One server and its connections. Used from one thread."""

    def __init__(self, url: URL, location: str | None = None) -> None:
        self.location = location or shown(url)
        self.answered = False
        """Whether the server has ever answered: from then on, one that does not is worth waiting for."""
        self._engine: Engine = create_engine(
            url,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": 10,
                "application_name": "vectorferry",
                # Text and JSON are sent as UTF-8, whatever the environment's PGCLIENTENCODING says.
                "client_encoding": "utf8",
                # No server-side prepared statements: they break behind a transaction pooler, and ours run once.
                "prepare_threshold": None,
                # Otherwise a sync would wait for hours for a server whose machine has vanished without a word.
                "keepalives_idle": 30,
                "keepalives_interval": 10,
                "keepalives_count": 6,
                "tcp_user_timeout": 90_000,
            },
        )
        event.listen(self._engine, "do_connect", _connect)

    @contextmanager
    def plain_transaction(self) -> Iterator[Connection]:
        """A transaction. Commits at the end, or rolls back."""
        with self._engine.begin() as connection:
            self.answered = True
            yield connection

    @contextmanager
    def lone_transaction(self) -> Iterator[Connection]:
        """A transaction that holds something while others work. That it is lost at the end, with its connection or its
        server, is no error: what it held is free then too."""
        with self._engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
            self.answered = True
            yield connection
            with suppress(DBAPIError):
                connection.rollback()

    @contextmanager
    def autocommit(self, settings: Mapping[str, str]) -> Iterator[Connection]:
        """For what cannot run inside a transaction, under some settings, which are reset in the end."""
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for name, value in settings.items():
                connection.execute(_SETTING, {"name": name, "value": value})
            try:
                yield connection
            finally:
                for name in () if connection.invalidated else settings:
                    connection.exec_driver_sql(f"RESET {name}")

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _connect(_dialect: Any, _record: Any, args: list[Any], options: dict[str, Any]) -> CancellableConnection:
    # Looking up a name cannot be interrupted, and a connection that nobody takes is closed.
    return abandonable(partial(CancellableConnection.connect, *args, **options))


def driver_of(connection: Connection) -> psycopg.Connection[tuple[object, ...]]:
    """The psycopg connection under a SQLAlchemy one, inside the same transaction."""
    raw = connection.connection.driver_connection
    if not isinstance(raw, psycopg.Connection):
        raise TypeError(f"expected a psycopg connection, got {type(raw).__name__}")
    return raw
