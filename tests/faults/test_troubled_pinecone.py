"""A tenth of all writes fail, some after they were applied: nothing is missing, nothing twice, nothing out of date."""

from __future__ import annotations

import pytest

from .pinecone_load import NONE, Load


@pytest.mark.long
def test_nothing_is_missing_twice_or_out_of_date_when_every_tenth_write_fails(postgres_url: str, schema: str) -> None:
    load = Load(2_000, 64, latency_ms=0, database=postgres_url, schema=schema, request_bytes=50_000)
    outcome, figures = load.run(troubled=True)
    assert outcome == NONE
    assert figures["faults"] > 0
