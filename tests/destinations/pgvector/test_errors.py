"""Whatever Postgres says, the user reads what happened and what to do; nothing raw gets out."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from random import Random

import psycopg
import pytest

from vectorferry import load_settings, run_sync
from vectorferry.connector.plugin import ConfigurationError, RetryableError, SchemaMapping, VectorferryError
from vectorferry.destinations import PgvectorDestination
from vectorferry.destinations._postgres import translated

from ...examples import family
from ...urls import as_user, in_database

SECRET = "hunter2-canary"


def refusal(url: str, schema: str = "refused") -> str:
    destination = PgvectorDestination(schema, url)
    try:
        with pytest.raises(VectorferryError) as caught:
            destination.prepare(SchemaMapping())
    finally:
        destination.close()
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(destination.__dict__)
    return str(caught.value)


def test_an_unreachable_server_is_named_without_the_password() -> None:
    message = refusal(f"postgresql://ada:{SECRET}@127.0.0.1:1/media")
    assert "cannot connect to Postgres at 127.0.0.1:1/media" in message
    assert "Check that the server runs" in message


@pytest.mark.parametrize(
    "change",
    family(
        [
            "ALTER ROLE {0} CONNECTION LIMIT 0",
            "ALTER DATABASE {0} CONNECTION LIMIT 0",
            "ALTER ROLE {0} NOLOGIN",
            "REVOKE CONNECT ON DATABASE {0} FROM public",
            "ALTER DATABASE {0} ALLOW_CONNECTIONS off",
        ]
    ),
)
def test_who_is_not_let_in_is_told_what_an_administrator_has_to_run(
    postgres_url: str, schema: str, change: str
) -> None:
    url = database_without_pgvector(postgres_url, schema)
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(change.format(schema).encode())
    _, advice = refusal(url).splitlines()
    verb = advice.split(": ")[1].split()[0]
    assert verb == change.split(maxsplit=1)[0].replace("REVOKE", "GRANT")


def test_a_server_that_is_starting_is_worth_waiting_for() -> None:
    with pytest.raises(RetryableError, match="Wait until it takes connections"), translated("here"):
        raise psycopg.OperationalError("connection failed: FATAL:  the database system is starting up")


def test_a_user_without_rights_is_told_which_to_get(postgres_url: str, schema: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE EXTENSION IF NOT EXISTS vector; CREATE ROLE {schema} LOGIN")
    message = refusal(as_user(postgres_url, schema, SECRET))
    assert f'CREATE SCHEMA "refused" AUTHORIZATION "{schema}";' in message


def database_without_pgvector(postgres_url: str, name: str) -> str:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        admin.execute(f"CREATE ROLE {name} LOGIN")
    return as_user(in_database(postgres_url, name), name)


def test_a_user_who_may_not_enable_pgvector_is_told_the_statement(postgres_url: str, schema: str) -> None:
    message = refusal(database_without_pgvector(postgres_url, schema))
    assert "CREATE EXTENSION IF NOT EXISTS vector SCHEMA public;" in message


def test_a_server_without_pgvector_is_told_apart(postgres_url: str, schema: str) -> None:
    url = database_without_pgvector(postgres_url, schema)
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {schema} SET extension_control_path = '/nowhere'")
    message = refusal(url)
    assert "has no pgvector" in message
    assert "embedded" in message


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"mysql://ada:{SECRET}@host/db", "should start with postgresql://"),
        (f"ada:{SECRET}@host", "no database address"),
        (f"postgresql://ada:{SECRET}@host:port/db", "no database address"),
        (f"postgresql://ada:p@{SECRET}@host/db", "in a password, write them as %40 and %2F"),
    ],
)
def test_an_address_of_the_wrong_form_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        PgvectorDestination("media", url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_usual_spelling_is_accepted(scheme: str) -> None:
    assert PgvectorDestination("media", f"{scheme}://ada:{SECRET}@host:5433/db").location == "host:5433/db"


def test_a_database_that_is_not_there_is_told_apart(postgres_url: str) -> None:
    message = refusal(in_database(postgres_url, "nowhere"))
    assert 'database "nowhere" does not exist' in message
    assert "Create it, or correct the destination's `url`" in message


def test_a_database_that_cannot_hold_every_text_is_refused(postgres_url: str, schema: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {schema} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    assert "has the encoding LATIN1" in refusal(in_database(postgres_url, schema))


def test_a_connection_that_ends_in_mid_work_is_retryable(postgres_url: str, schema: str) -> None:
    destination = PgvectorDestination(schema, postgres_url)
    destination.prepare(SchemaMapping())
    database = destination._server.database
    with psycopg.connect(postgres_url, autocommit=True) as admin:

        def work() -> None:
            with translated("here"), database.transaction() as connection:
                ours = "FROM pg_stat_activity WHERE application_name = 'vectorferry'"
                admin.execute(f"SELECT pg_terminate_backend(pid, 60000) {ours}")
                connection.exec_driver_sql("SELECT 1")

        with pytest.raises(RetryableError):
            work()
    assert destination.known("ads", ["a"]) == {}
    destination.close()


@pytest.mark.long
def test_connections_that_end_at_any_moment_are_retryable(postgres_url: str, schema: str) -> None:
    """In the middle of a pipeline too, which cannot be left then."""
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE starts_with(application_name, %s)"
    options = "&" if "?" in postgres_url else "?"
    url = f"{postgres_url}{options}application_name={schema}"
    with closing(PgvectorDestination(schema, url)) as destination, psycopg.connect(postgres_url) as admin:
        admin.autocommit = True
        destination.prepare(SchemaMapping())
        ended, is_over = 0, threading.Event()

        def end_them() -> None:
            nonlocal ended
            moments = Random(1)
            while ended < 1_000 and not is_over.wait(moments.random() / 30):
                ended += len(admin.execute(end, [schema]).fetchall())
            is_over.set()

        words = set()
        with ThreadPoolExecutor() as pool:
            ending = pool.submit(end_them)
            try:
                while not is_over.is_set():
                    try:
                        with destination.lock("ads"):
                            destination.known("ads", ["a"])
                    except RetryableError as error:
                        words.add(str(error))
            finally:
                is_over.set()
            ending.result()
        assert words
        assert [each for each in words if "cannot exit pipeline mode" in each] == []
        assert destination.known("ads", ["a"]) == {}


@pytest.mark.parametrize("given", [f"mysql://ada:{SECRET}@host/db", "${DATABASE_URL}"])
def test_an_address_of_the_wrong_form_names_file_and_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"mysql://ada:{SECRET}@host/db")
    file = tmp_path / "sync.yaml"
    pinecone = f"{{type: pinecone, api_key: key, manifest: {{url: '{given}'}}}}"
    file.write_text(
        f"name: media\nsource: {{type: sandbox}}\ndestinations: [{{type: pgvector, url: '{given}'}}, {pinecone}]\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        run_sync(load_settings(file))
    for key in ("destinations[0].url", "destinations[1].manifest.url"):
        assert f"sync.yaml: {key}: the address should start with postgresql://" in str(caught.value)
    assert SECRET not in str(caught.value)
