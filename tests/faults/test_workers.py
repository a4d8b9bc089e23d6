"""Several workers on one collection: the tables are those of an undisturbed run, whatever becomes of the workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from vectorferry.connector.sandbox import SandboxSettings

from ..sandbox_process import sandbox_process
from ..tables import differences, row_counts
from ..waiting import PATIENCE
from .killing import finish, start
from .mixpeek_media import MIXPEEK

ASSETS = 400
FEATURES = 1


@pytest.fixture(scope="module")
def sandbox() -> Iterator[httpx.Client]:
    """A sandbox that is slow enough for others to come and help."""
    serving = MIXPEEK.generated(ASSETS, FEATURES).model_copy(update={"latency_ms": 20})
    control = {"X-Sandbox-Key": serving.control_key}
    with sandbox_process(serving) as url, httpx.Client(base_url=url, headers=control, timeout=PATIENCE) as client:
        yield client


def settings(sandbox: httpx.Client, database: str, schema: str) -> dict[str, Any]:
    """A sync of many small batches, with few requests at a time."""
    source = MIXPEEK.source(str(sandbox.base_url).rstrip("/"), SandboxSettings().api_key)
    return {
        "name": "media",
        "source": {**source, "concurrency": 4},
        "destinations": [{"type": "pgvector", "url": database, "schema": schema}],
        "batch": {"rows": 20},
    }


def test_what_several_write_is_what_one_writes(
    tmp_path: Path, sandbox: httpx.Client, postgres_url: str, schema: str
) -> None:
    alone, shared = f"{schema}_alone", f"{schema}_shared"
    expected = finish(start(tmp_path, settings(sandbox, postgres_url, alone)))
    summary = finish(start(tmp_path, settings(sandbox, postgres_url, shared), "--workers", "3"))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        assert row_counts(connection, shared)["video"] == ASSETS * FEATURES
        assert differences(connection, alone, shared) == []
    collection, of_one = (each["collections"]["generated"] for each in (summary, expected))
    assert len(collection["workers"]) == 2
    for name in ("listed", "pulled", "unchanged", "complete", "requests"):
        assert collection[name] == of_one[name], name
    assert summary["destinations"]["pgvector"] == expected["destinations"]["pgvector"]
