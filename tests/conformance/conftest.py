"""Places for destinations of each kind: memory, Postgres, and a local Pinecone with its manifest in Postgres."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from vectorferry.connector.plugin import SchemaMapping
from vectorferry.connector.sandbox import PineconeDialect, Sandbox, running_sandbox
from vectorferry.connector.testing import MemoryDestination
from vectorferry.destinations import PgvectorDestination

from ..examples import family
from ..pinecone import forget_budgets, pinecone_alone, pinecone_destination

Open = Callable[[], Any]
"""Opens the same place again and again, the first time an empty one, and prepares nothing."""

NewPlace = Callable[[str], Open]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """A local Pinecone; each destination has indexes of its own."""
    forget_budgets()
    with running_sandbox(pinecone_alone(pinecone=PineconeDialect(max_indexes=10_000))) as running:
        yield running


@pytest.fixture
def new_place(postgres_url: str, sandbox: Sandbox, new_schema: Callable[[], str]) -> Iterator[NewPlace]:
    """Makes a place for a destination of some kind. What was opened there is closed at the end."""
    with ExitStack() as opened:

        def made(kind: str) -> Open:
            schema, memory = new_schema(), MemoryDestination()

            def open_it() -> Any:
                destination: Any = memory
                if kind == "pgvector":
                    destination = PgvectorDestination(schema, postgres_url)
                elif kind == "pinecone":
                    prefix = schema.replace("_", "-")
                    destination = pinecone_destination(sandbox, postgres_url, schema, index_prefix=prefix)
                opened.callback(destination.close)
                return destination

            return open_it

        yield made


@pytest.fixture(params=["memory", "pgvector", "pinecone"])
def opened(request: pytest.FixtureRequest, new_place: NewPlace) -> Open:
    """Opens the same place of each kind again and again, each time closing what was open."""
    place, before = new_place(request.param), ExitStack()

    def again() -> Any:
        before.close()
        destination = place()
        before.callback(destination.close)
        return destination

    return again


pinecone_is_long = pytest.mark.parametrize(
    "opened", family(["memory", "pgvector", "pinecone"], always=(0, 1)), indirect=True
)
"""For what the engine does with any destination, when doing so takes several syncs."""

both_stores_are_long = pytest.mark.parametrize("opened", family(["memory", "pgvector", "pinecone"]), indirect=True)
"""The same, when it takes a dozen of them, or when another such test has gone the same way with Postgres."""


@pytest.fixture
def prepared(opened: Open) -> Open:
    """The same, prepared each time."""

    def again() -> Any:
        destination = opened()
        destination.prepare(SchemaMapping())
        return destination

    return again
