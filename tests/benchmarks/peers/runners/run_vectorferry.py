"""Ours: the whole of a sync, from a source in memory, with ledger, hashes, delete guard and verifying of deletes."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import closing
from typing import Any

from given import Row, measure  # type: ignore[import-not-found]

from vectorferry.connector.plugin import Asset, Feature, SchemaMapping
from vectorferry.connector.testing import MemorySource, sync
from vectorferry.destinations import PgvectorSettings, PineconeSettings

VECTOR = "model-v1"
MAPPING = SchemaMapping.model_validate({"video": {"vectors": {VECTOR: {"index": "none"}}}})


def prepare(task: dict[str, Any], rows: list[Row]) -> MemorySource:
    """Assets with their features. The fingerprint is what a service's list says of an asset: when it was changed."""
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.asset].append(row)
    return MemorySource({"peers": [_asset(task, asset_id, group) for asset_id, group in groups.items()]})


def _asset(task: dict[str, Any], asset_id: str, rows: list[Row]) -> Asset:
    features = tuple(
        Feature(
            row.id,
            "video",
            {"transcription": row.text, "start_time": row.start, "metadata": {"author": row.author}},
            {VECTOR: row.vector},
        )
        for row in rows
    )
    changed = task["changed_at"].get(asset_id, "0")
    return Asset(asset_id, fingerprint=changed, modality="video", features=features)


def load(task: dict[str, Any], source: MemorySource) -> None:
    """One sync, as `vectorferry sync` does it."""
    with closing(_destination(task)) as destination:
        summary = asyncio.run(sync(source, [destination], name="peers", mapping=MAPPING))
    assert summary.exit_code == 0, summary


def _destination(task: dict[str, Any]) -> Any:
    if task["store"] == "Postgres":
        return PgvectorSettings.model_validate({"url": task["url"]}).open("peers")
    manifest = {"url": task["url"]}
    given = {"api_key": task["api_key"], "host": task["pinecone"], "manifest": manifest, "vectors": "all"}
    return PineconeSettings.model_validate(given).open("peers")


measure(prepare, load)
