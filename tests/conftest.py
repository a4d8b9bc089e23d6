"""What many tests need: one real Postgres for the session, and schema names that nobody else uses."""

from __future__ import annotations

import gc
import itertools
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from hashlib import pbkdf2_hmac
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import certifi
import psycopg
import pytest
from psycopg import sql

from tests.examples import register_profiles
from vectorferry.destinations import EmbeddedPostgres

from .other_postgres import NotToBeHadError, other_postgres

register_profiles()


# What pytest has made of a test file's asserts is kept also where Python is told to keep nothing: without it, each
# worker makes it anew for five seconds.
sys.dont_write_bytecode = False

gc.disable()  # what is imported and collected stays to the end, and is not looked through for garbage again and again


def pytest_collection_finish() -> None:
    """From here on, garbage is looked for among what tests make."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _hears_signals() -> None:
    """A shell starts what it runs in the background deaf to Ctrl-C, `nohup` deaf to SIGHUP; so would all tests be."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def _few_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Trust one authority in place of a hundred and fifty, which every client would read anew for 30 ms.

    Nothing here is asked over TLS but by the tests of certificates, and those name whom they trust.
    """
    one = certifi.contents().partition("-----END CERTIFICATE-----")
    (path := tmp_path_factory.mktemp("authorities") / "one.pem").write_text("".join(one[:2]) + "\n")
    with pytest.MonkeyPatch.context() as patches:
        patches.setenv("SSL_CERT_FILE", str(path))
        patches.setattr(certifi, "where", lambda: str(path))  # for clients that do not look at the environment
        yield


@pytest.fixture(scope="session", autouse=True)
def _keys_are_hashed_once() -> Iterator[None]:
    """Remember the hash of a key, by which another one is told: it takes 14 ms, and all runs have the same few keys."""
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr("vectorferry.connector.http._client.pbkdf2_hmac", cache(pbkdf2_hmac))
        yield


@pytest.fixture(scope="session", autouse=True)
def _plugins_are_looked_up_once() -> Iterator[None]:
    """Go through everything that is installed once for each search path: all configurations look for two plug-ins."""

    @cache
    def found(group: str, _path: tuple[str, ...]) -> EntryPoints:
        return entry_points(group=group)

    with pytest.MonkeyPatch.context() as patches:
        looked_up = "vectorferry.connector._config._registry.entry_points"
        patches.setattr(looked_up, lambda group: found(group, tuple(map(str, sys.path))))
        yield


@pytest.fixture(scope="session")
def postgres_directory() -> Iterator[Path]:
    """The data directory of the session's Postgres, for what starts or shares it by path."""
    with _passable_directory() as directory:
        yield directory / "data"


@pytest.fixture(scope="session")
def postgres_url(postgres_directory: Path) -> Iterator[str]:
    """The address of a real Postgres with pgvector that lives as long as the test session."""
    with EmbeddedPostgres(postgres_directory) as server, _swept(server.url):
        yield server.url


@pytest.fixture(scope="module")
def fresh_postgres_url() -> Iterator[str]:
    """The address of a Postgres that a module has for itself: what others leave in its catalogue makes looking slow."""
    with _passable_directory() as directory, EmbeddedPostgres(directory / "data") as server, _swept(server.url):
        yield server.url


@pytest.fixture(scope="session")
def other_postgres_url() -> Iterator[str]:
    """The address of a real Postgres 16 with pgvector 0.8.0: neither the newest version, nor our embedded one."""
    with _passable_directory() as directory, ExitStack() as server:
        try:
            url = server.enter_context(other_postgres(directory))
        except NotToBeHadError as error:
            pytest.skip(f"no second Postgres: {error}")
        with _swept(url):
            yield url


@pytest.fixture
def passable_path() -> Iterator[Path]:
    """A directory for a Postgres of the test's own.

    Not `tmp_path`: as root, Postgres runs as another user, and every pytest session that starts on the machine
    closes the common parent of all such paths to other users again.
    """
    with _passable_directory() as directory:
        yield directory


@pytest.fixture
def schema(new_schema: Callable[[], str]) -> str:
    """A schema name of the test's own."""
    return new_schema()


@pytest.fixture(scope="module")
def common_schema() -> Iterator[str]:
    """A schema name for what the tests of a module only look at."""
    with _schemas() as prefix:
        yield prefix


@pytest.fixture
def new_schema() -> Iterator[Callable[[], str]]:
    """Makes schema names of the test's own. Schemas of such a name, or one that begins with it, go with the test.

    Every schema that stays makes the catalogue larger, in which each later test looks for its tables.
    """
    numbers = itertools.count()
    with _schemas() as prefix:
        yield lambda: f"{prefix}_{number}" if (number := next(numbers)) else prefix


@contextmanager
def _schemas() -> Iterator[str]:
    prefix = f"t_{uuid.uuid4().hex[:12]}"
    yield prefix
    for broom in _BROOMS.values():
        broom.drop_schemas(prefix)


class _Broom:
    """Drops schemas of one server, over a connection that it keeps: making one costs more than dropping."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection[Any] | None = None

    def drop_schemas(self, prefix: str) -> None:
        """Drop those whose names begin so. What is still in use stays; so does everything when the server is away."""
        try:
            connection = self._connected()
            for (name,) in connection.execute(_SCHEMAS, [prefix]).fetchall():
                with suppress(psycopg.errors.LockNotAvailable):
                    connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))
        except psycopg.OperationalError:
            self.close()

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def _connected(self) -> psycopg.Connection[Any]:
        if not self._connection:
            patience = "-c lock_timeout=1s -c client_min_messages=warning"
            self._connection = psycopg.connect(self._url, autocommit=True, options=patience)
        return self._connection


_BROOMS: Final[dict[str, _Broom]] = {}
"""One for each server that runs, by its address."""

_SCHEMAS: Final = "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)"


@contextmanager
def _swept(url: str) -> Iterator[None]:
    _BROOMS[url] = _Broom(url)
    try:
        yield
    finally:
        _BROOMS.pop(url).close()


@contextmanager
def _passable_directory() -> Iterator[Path]:
    with TemporaryDirectory(prefix="vectorferry-test-", ignore_cleanup_errors=True) as name:
        (path := Path(name)).chmod(0o711)  # root's server runs as another user
        yield path
