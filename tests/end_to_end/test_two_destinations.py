"""One read of the source feeds every destination, and each catches up on its own."""

from __future__ import annotations

import psycopg
import pytest

from vectorferry import Summary, parse_settings, run_sync
from vectorferry.connector.sandbox import GeneratedCatalogue, Sandbox, SandboxSettings, running_sandbox

from ..tables import differences

CATALOGUE = GeneratedCatalogue(assets=8, features_per_asset=3, dimension=8, collections=("ads",))


def sync(sandbox: Sandbox, database: str, *schemas: str) -> Summary:
    destinations = [
        {"type": "pgvector", "name": f"to-{n}", "url": database, "schema": s} for n, s in enumerate(schemas)
    ]
    source = {"type": "mixpeek", "base_url": sandbox.url, "api_key": sandbox.api_key}
    return run_sync(parse_settings({"name": "media", "source": source, "destinations": destinations}, "test"))


@pytest.mark.long
def test_two_schemas_are_filled_by_one_read_and_a_late_one_catches_up(postgres_url: str, schema: str) -> None:
    one, other, late = f"{schema}_1", f"{schema}_2", f"{schema}_3"
    with running_sandbox(SandboxSettings(generate=CATALOGUE)) as sandbox:
        summary = sync(sandbox, postgres_url, one, other)
        assert sandbox.requests.counts()["features.get"] == CATALOGUE.assets * CATALOGUE.features_per_asset
        assert set(summary.destinations) == {"to-0", "to-1"}
        caught_up = sync(sandbox, postgres_url, one, late)
    assert caught_up.destinations["to-0"].applied.assets.unchanged == CATALOGUE.assets
    assert caught_up.destinations["to-1"].applied.assets.inserted == CATALOGUE.assets
    with psycopg.connect(postgres_url) as connection:
        assert differences(connection, one, other) == []
        assert differences(connection, one, late) == []
