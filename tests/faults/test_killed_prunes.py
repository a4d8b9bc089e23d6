"""Kill -9 a sync into pgvector between every two steps of a prune: nothing is half gone, and the next run ends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from vectorferry import parse_settings, run_sync
from vectorferry.connector.sandbox import GeneratedCatalogue, Sandbox, SandboxSettings, running_sandbox

from ..tables import differences
from .killing import kill, someone_waits, start, wait_for
from .media import ASSETS
from .mixpeek_media import COLLECTION, MIXPEEK, serve

Connection = psycopg.Connection[Any]

ALL = dict.fromkeys(range(ASSETS), 0)
FEWER = dict.fromkeys(range(1, ASSETS, 2), 0)

STEPS = {
    "prune": ("assets", "text", "text__multimodal_v1", "text__words", "video", "_sync_ledger", "_sync_quarantine"),
    "tombstone": ("assets", "text", "video", "_sync_ledger", "_sync_quarantine"),
}
"""The tables that a prune goes through, in their order."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    nothing = GeneratedCatalogue(assets=0, collections=(COLLECTION,))
    with running_sandbox(SandboxSettings(generate=nothing)) as running:
        yield running


def settings(sandbox: Sandbox, database: str, schema: str, mode: str) -> dict[str, Any]:
    return {
        "name": "media",
        "source": MIXPEEK.source(sandbox.url, sandbox.api_key),
        "destinations": [{"type": "pgvector", "url": database, "schema": schema}],
        "deletes": {"mode": mode, "max_share": 1.0},
    }


SHORT = [("prune", ("text__words", "_sync_ledger")), ("tombstone", ("text",))]


def sync(settings: dict[str, Any]) -> None:
    """To its end, in this process."""
    assert run_sync(parse_settings(settings, "test")).exit_code == 0


@pytest.mark.long
@pytest.mark.parametrize(("mode", "steps"), [*SHORT, *STEPS.items()])
def test_killed_between_two_steps_of_a_prune(
    tmp_path: Path,
    sandbox: Sandbox,
    connection: Connection,
    postgres_url: str,
    schema: str,
    mode: str,
    steps: Sequence[str],
) -> None:
    whole, undisturbed = f"{schema}_whole", f"{schema}_undisturbed"
    serve(sandbox, ALL)
    for name in (schema, whole, undisturbed):
        sync(settings(sandbox, postgres_url, name, mode))
    serve(sandbox, FEWER)
    sync(settings(sandbox, postgres_url, undisturbed, mode))
    again = settings(sandbox, postgres_url, schema, mode)
    for table in steps:
        with psycopg.connect(postgres_url) as holding:
            holding.execute(f"LOCK TABLE {schema}.{table} IN EXCLUSIVE MODE")  # whoever reads does not wait
            process = start(tmp_path, again)
            wait_for(process, partial(someone_waits, connection, f"{schema}.{table}"))
            kill(process)
        assert differences(connection, whole, schema) == []
    sync(again)
    assert differences(connection, undisturbed, schema, ["deleted_at"]) == []
    serve(sandbox, ALL)
    sync(again)
    assert differences(connection, whole, schema) == []
