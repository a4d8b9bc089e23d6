"""A local Pinecone, and destinations that write to it and keep their manifest in the session's Postgres."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import TypeAlias

import pytest

from vectorferry.connector.plugin import SchemaMapping
from vectorferry.connector.sandbox import PineconeDialect, Sandbox, SandboxSettings, running_sandbox
from vectorferry.destinations import PineconeDestination

from ...pinecone import forget_budgets, pinecone_alone, pinecone_destination

Open: TypeAlias = Callable[..., PineconeDestination]


@pytest.fixture(autouse=True)
def _fresh_budgets() -> None:
    forget_budgets()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox without faults."""
    with running_sandbox(pinecone_alone()) as running:
        yield running


@pytest.fixture(scope="module")
def crowded() -> Iterator[Sandbox]:
    """A sandbox for the indexes of many destinations."""
    with running_sandbox(SandboxSettings(pinecone=PineconeDialect(max_indexes=10_000))) as running:
        yield running


@pytest.fixture
def open_pinecone(sandbox: Sandbox, postgres_url: str, schema: str) -> Iterator[Open]:
    """Opens and prepares a destination. Every call opens the same sync, as a new process would."""
    with ExitStack() as stack:

        def opened(mapping: SchemaMapping | None = None, **settings: object) -> PineconeDestination:
            destination = stack.enter_context(closing(pinecone_destination(sandbox, postgres_url, schema, **settings)))
            destination.prepare(mapping or SchemaMapping())
            return destination

        yield opened
