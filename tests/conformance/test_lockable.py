"""Whoever writes a collection keeps others out of it, in every destination that can be locked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from threading import Event, Thread

import pytest

from vectorferry.connector.plugin import Capability, Destination, LockedError
from vectorferry.connector.sandbox import Sandbox, running_sandbox
from vectorferry.connector.testing import MemoryDestination
from vectorferry.destinations import PgvectorDestination

from ..pinecone import forget_budgets, pinecone_destination
from ..waiting import PATIENCE

Opens = Callable[[], Destination]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """A local Pinecone. No lock asks it for anything."""
    forget_budgets()
    with running_sandbox() as running:
        yield running


@pytest.fixture(params=["memory", "pgvector", "pinecone"])
def opens(request: pytest.FixtureRequest, postgres_url: str, schema: str, sandbox: Sandbox) -> Iterator[Opens]:
    """Opens the same place again and again, as one process after the other would."""
    memory = MemoryDestination()
    with ExitStack() as opened:

        def again() -> Destination:
            if request.param == "memory":
                return memory
            if request.param == "pgvector":
                return opened.enter_context(closing(PgvectorDestination(schema, postgres_url)))
            return opened.enter_context(closing(pinecone_destination(sandbox, postgres_url, schema)))

        yield again
    assert sandbox.requests.counts() == {}


def test_it_is_one(opens: Opens) -> None:
    assert Capability.LOCK in opens().capabilities


def test_who_comes_second_is_told_who_is_there(opens: Opens) -> None:
    with (
        opens().lock("ads"),
        pytest.raises(LockedError, match=r"^another sync .*is writing ads"),
        opens().lock("ads"),
    ):
        pass


def test_another_collection_is_free(opens: Opens) -> None:
    with opens().lock("ads"), opens().lock("films"):
        pass


def test_it_is_free_again_whatever_happened(opens: Opens) -> None:
    first, second = opens(), opens()
    with pytest.raises(ZeroDivisionError), first.lock("ads"):
        raise ZeroDivisionError
    with second.lock("ads"):
        pass
    with first.lock("ads"):
        pass


def test_who_waits_gets_it_as_soon_as_it_is_free(opens: Opens) -> None:
    first, second = opens(), opens()
    inside, leave, entered = Event(), Event(), Event()

    def hold() -> None:
        with first.lock("ads"):
            inside.set()
            leave.wait(PATIENCE)
            assert not entered.is_set()

    holder = Thread(target=hold)
    holder.start()
    inside.wait(PATIENCE)
    with pytest.raises(LockedError), second.lock("ads", 0.01):
        pass
    leave.set()
    with second.lock("ads", PATIENCE):
        entered.set()
    holder.join()
