"""A second sync right after the first reads no vector and writes no row."""

from __future__ import annotations

import psycopg

from vectorferry import run_sync
from vectorferry.connector._config import parse_settings
from vectorferry.connector.sandbox import running_sandbox

from .written import rows_written


def test_nothing_changed_means_nothing_read_and_nothing_written(postgres_url: str, schema: str) -> None:
    with running_sandbox() as sandbox, psycopg.connect(postgres_url, autocommit=True) as connection:
        settings = parse_settings(
            {
                "name": "media",
                "source": {
                    "type": "mixpeek",
                    "base_url": sandbox.url,
                    "api_key": sandbox.api_key,
                    "collections": ["quickstart"],
                },
                "destinations": [{"type": "pgvector", "url": postgres_url, "schema": schema}],
            },
            "test",
        )

        def sync_and_count() -> tuple[dict[str, int], int, int]:
            """Requests by route, rows written as Postgres counts them, and features that were left as they are."""
            sandbox.requests.reset()
            summary = run_sync(settings)
            assert summary.exit_code == 0
            written = rows_written(connection, schema)
            features = summary.destinations["pgvector"].applied.features
            return sandbox.requests.counts(), written, sum(counts.unchanged for counts in features.values())

        first_requests, first_written, _ = sync_and_count()
        second_requests, second_written, unchanged = sync_and_count()
        stored = connection.execute(
            f"SELECT (SELECT count(*) FROM {schema}.video) + (SELECT count(*) FROM {schema}.image) "
            f"+ (SELECT count(*) FROM {schema}.text) + (SELECT count(*) FROM {schema}.audio)"
        ).fetchone()
    assert any(route.startswith("features") for route in first_requests)
    listing = ("collections", "assets.list", "organizations")
    assert {route for route in second_requests if not route.startswith(listing)} == set()
    assert first_written > 0
    assert second_written == first_written
    assert stored == (unchanged,)
