"""Every error of the driver becomes one of ours, of the kind that says what to do next."""

from __future__ import annotations

import inspect
from types import ModuleType

import psycopg
import pytest
import sqlalchemy.exc

from connector import DestinationError, RetryableError, VectorferryError
from destinations._postgres import translate


def exceptions_of(module: ModuleType) -> list[type[Exception]]:
    found = [member for _, member in inspect.getmembers(module, inspect.isclass)]
    return [member for member in found if issubclass(member, psycopg.Error)]


@pytest.mark.parametrize("kind", exceptions_of(psycopg.errors))
def test_every_driver_error_becomes_one_of_ours(kind: type[Exception]) -> None:
    assert isinstance(translate(kind("something"), "here"), VectorferryError)


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
