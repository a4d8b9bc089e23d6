"""What most tests of faults look into afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest


@pytest.fixture
def connection(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """To the Postgres that tables, or Pinecone's manifest, are in."""
    with psycopg.connect(postgres_url, autocommit=True) as opened:
        yield opened
