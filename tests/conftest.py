"""What many tests need: one real Postgres for the session, and schema names that nobody else uses."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import certifi
import pytest

from tests.examples import register_profiles
from vectorferry.destinations import EmbeddedPostgres

from .other_postgres import NotToBeHadError, other_postgres

register_profiles()


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
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(path))
        yield


@pytest.fixture(scope="session")
def postgres_directory() -> Iterator[Path]:
    """The data directory of the session's Postgres, for what starts or shares it by path."""
    with _passable_directory() as directory:
        yield directory / "data"


@pytest.fixture(scope="session")
def postgres_url(postgres_directory: Path) -> Iterator[str]:
    """The address of a real Postgres with pgvector that lives as long as the test session."""
    with EmbeddedPostgres(postgres_directory) as server:
        yield server.url


@pytest.fixture(scope="module")
def fresh_postgres_url() -> Iterator[str]:
    """The address of a Postgres that a module has for itself: what others leave in its catalogue makes looking slow."""
    with _passable_directory() as directory, EmbeddedPostgres(directory / "data") as server:
        yield server.url


@pytest.fixture(scope="session")
def other_postgres_url() -> Iterator[str]:
    """The address of a real Postgres 16 with pgvector 0.8.0: neither the newest version, nor our embedded one."""
    with _passable_directory() as directory, ExitStack() as server:
        try:
            url = server.enter_context(other_postgres(directory))
        except NotToBeHadError as error:
            pytest.skip(f"no second Postgres: {error}")
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
def schema() -> str:
    """A schema name of the test's own."""
    return f"t_{uuid.uuid4().hex[:12]}"


@contextmanager
def _passable_directory() -> Iterator[Path]:
    with TemporaryDirectory(prefix="vectorferry-test-", ignore_cleanup_errors=True) as name:
        (path := Path(name)).chmod(0o711)  # root's server runs as another user
        yield path
