"""A source, a Pinecone, and the command configured to sync one into the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from vectorferry.connector.sandbox import PineconeDialect, Sandbox, SandboxSettings, running_sandbox

from ..pinecone import forget_budgets
from .command import KEY, Command
from .pinecone_store import CATALOGUE


@pytest.fixture(autouse=True)
def _forget_budgets() -> None:
    forget_budgets()


@pytest.fixture
def dialect() -> PineconeDialect:
    """How the Pinecone of a test behaves."""
    return PineconeDialect()


@pytest.fixture
def sandbox(dialect: PineconeDialect) -> Iterator[Sandbox]:
    """Eight assets in two collections, and an empty Pinecone."""
    with running_sandbox(SandboxSettings(api_key=KEY, generate=CATALOGUE, pinecone=dialect)) as sandbox:
        yield sandbox


@pytest.fixture
def settings(sandbox: Sandbox, postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A sync into Pinecone alone."""
    monkeypatch.setenv("PINECONE_API_KEY", KEY)
    return {
        "name": "media",
        "source": {"type": "mixpeek", "base_url": sandbox.url, "api_key": KEY},
        "destinations": [
            {
                "type": "pinecone",
                "vectors": "all",
                "api_key": "${PINECONE_API_KEY}",
                "host": sandbox.url,
                "manifest": {"url": postgres_url, "schema": schema},
            }
        ],
    }


@pytest.fixture
def vectorferry(tmp_path: Path, settings: Mapping[str, Any]) -> Command:
    """The command, configured."""
    command = Command(tmp_path)
    command.configure(settings)
    return command


@pytest.fixture
def manifest(postgres_url: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """To the manifest's Postgres."""
    with psycopg.connect(postgres_url, autocommit=True, row_factory=dict_row) as connection:
        yield connection
