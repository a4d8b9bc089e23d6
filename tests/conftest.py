"""What many tests need: one real Postgres for the session, and schema names that nobody else uses."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from destinations import EmbeddedPostgres


@pytest.fixture(scope="session")
def postgres_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of the session's Postgres, for what starts or shares it by path."""
    return tmp_path_factory.mktemp("postgres") / "data"


@pytest.fixture(scope="session")
def postgres_url(postgres_directory: Path) -> Iterator[str]:
    """The address of a real Postgres with pgvector that lives as long as the test session."""
    with EmbeddedPostgres(postgres_directory) as server:
        yield server.url


@pytest.fixture
def schema() -> str:
    """A schema name of the test's own."""
    return f"t_{uuid.uuid4().hex[:12]}"
