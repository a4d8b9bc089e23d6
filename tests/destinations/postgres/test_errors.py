"""Every error of the driver becomes one of ours, of the kind that says what to do next."""

from __future__ import annotations

import inspect
from types import ModuleType

import psycopg
import pytest
import sqlalchemy.exc

from vectorferry.connector.plugin import DestinationError, RetryableError, VectorferryError
from vectorferry.destinations._postgres import translate


def exceptions_of(module: ModuleType) -> list[type[Exception]]:
    found = [member for _, member in inspect.getmembers(module, inspect.isclass)]
    return [member for member in found if issubclass(member, psycopg.Error)]


def test_every_driver_error_becomes_one_of_ours() -> None:
    kinds = exceptions_of(psycopg.errors)
    assert len(kinds) > 200
    assert [kind for kind in kinds if not isinstance(translate(kind("something"), "here"), VectorferryError)] == []


@pytest.mark.parametrize("state", ["40001", "40P01", "23505", "57P01"])
def test_what_may_work_the_next_time_is_retryable(state: str) -> None:
    kind = psycopg.errors.lookup(state)
    wrapped = sqlalchemy.exc.DBAPIError("SELECT 1", {}, kind("again"))
    assert isinstance(translate(wrapped, "here"), RetryableError)


@pytest.mark.parametrize(
    "refused",
    [
        psycopg.errors.DiskFull("no space left on device"),
        psycopg.errors.InternalError_('could not extend file "base/5/1": Disk quota exceeded'),
        psycopg.errors.InternalError_('could not write to log file "01": File too large'),
    ],
)
def test_a_full_disk_stops_with_advice(refused: psycopg.Error) -> None:
    error = translate(refused, "here")
    assert isinstance(error, DestinationError)
    assert "Free space" in str(error)


def test_a_server_that_answered_before_is_waited_for() -> None:
    lost = psycopg.OperationalError("connection failed: Connection refused")
    assert isinstance(translate(lost, "here"), DestinationError)
    again = translate(lost, "here", answered=True)
    assert isinstance(again, RetryableError)
    assert again.after == 5


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("consuming input failed: query_wait_timeout", "default_pool_size"),
        ("connection failed: FATAL: no more connections allowed (max_client_conn)", "max_client_conn"),
        ("connection failed: FATAL: unsupported startup parameter: options", "ignore_startup_parameters"),
        ("connection failed: FATAL: could not write init file: No space left on device", "Free space"),
    ],
)
def test_what_a_pool_or_a_full_disk_says_instead_of_a_connection_has_advice(words: str, advice: str) -> None:
    assert advice in str(translate(psycopg.OperationalError(words), "here"))


def test_a_log_that_tells_of_a_full_disk_explains_a_server_that_is_gone() -> None:
    for lost in (psycopg.OperationalError("Connection refused"), psycopg.errors.CrashShutdown("crash")):
        error = translate(lost, "here", answered=True, last_words=lambda: "could not write: No space left on device")
        assert isinstance(error, DestinationError)
        assert "Free space" in str(error)


def test_a_full_table_of_locks_is_not_taken_for_a_lack_of_memory(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection, pytest.raises(psycopg.errors.OutOfMemory) as raised:
        connection.execute(
            "DO $$BEGIN RAISE 'out of shared memory' USING ERRCODE = '53200', "
            "HINT = 'You might need to increase \"max_locks_per_transaction\".'; END$$"
        )
    assert "Raise max_locks_per_transaction" in str(translate(raised.value, "here"))
    lost = psycopg.OperationalError("connection failed: FATAL:  out of shared memory")
    assert "Raise max_locks_per_transaction" in str(translate(lost, "here"))
    assert "maintenance_work_mem" in str(translate(psycopg.errors.OutOfMemory("out of memory"), "here"))
