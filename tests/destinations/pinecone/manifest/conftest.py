"""Manifests in a schema of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
import pytest

from vectorferry.destinations.pinecone._manifest import Manifest

OpenManifest: TypeAlias = Callable[..., Manifest]


@pytest.fixture
def open_manifest(postgres_url: str, schema: str) -> Iterator[OpenManifest]:
    """Opens and prepares the test's manifest, as a new process would; another name is another manifest."""
    with ExitStack() as opened:

        def prepared(name: str = "pinecone") -> Manifest:
            manifest = opened.enter_context(closing(Manifest(schema, name, postgres_url, Path("nowhere"))))
            manifest.prepare()
            return manifest

        yield prepared


@pytest.fixture
def manifest(open_manifest: OpenManifest) -> Manifest:
    """One manifest, prepared."""
    return open_manifest()


@pytest.fixture
def sql(postgres_url: str, schema: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection that finds the test's schema without a prefix."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'SET search_path = "{schema}", public')
        yield connection
