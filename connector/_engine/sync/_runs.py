"""What a run leaves in the books of each destination: a row for each of its collections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

from vectorferry.connector._engine.sync._lane import Lane
from vectorferry.connector._engine.sync._options import SyncOptions
from vectorferry.connector._model._batch import Applied
from vectorferry.connector._model._errors import VectorferryError
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import RecordedRun, RunState
from vectorferry.connector._reports._run_id import current_starter
from vectorferry.connector._reports._summary import CollectionSummary, Summary


async def record_runs(lanes: Sequence[Lane], summary: Summary, options: SyncOptions, mapping: str) -> None:
    """Enter what became of each collection, once for the whole run, under its mapping's digest. A destination that has
    failed is left out; one that cannot do this has all the same what it was to have, and its notes say so."""
    for lane in lanes:
        rows = [
            _row(summary, collection, scan, lane.summary.by_collection.get(collection, Applied()), options, mapping)
            for collection, scan in summary.collections.items()
        ]
        if rows and lane.alive and lane.can(Capability.RUNS):
            try:
                await lane.ask(partial(lane.destination.record_runs, rows))
            except VectorferryError as error:
                lane.summary.notes.append(f"the run is not in the record of runs: {error}")


def _row(
    summary: Summary,
    collection: str,
    scan: CollectionSummary,
    applied: Applied,
    options: SyncOptions,
    mapping: str,
) -> RecordedRun:
    now = datetime.now(UTC)
    return RecordedRun(
        run_id=summary.run_id,
        collection=collection,
        started_at=scan.started_at or now,
        ended_at=scan.ended_at or now,
        state=_state(summary, scan),
        counts={
            "scan": "some" if options.only is not None else scan.scan,
            "modalities": sorted(modality.value for modality in options.modalities),
            "mapping": mapping,
            **_counts(scan, applied),
        },
        started_by=options.started_by or current_starter(),
    )


def _state(summary: Summary, scan: CollectionSummary) -> RunState:
    if scan.error:
        return "failed"
    if scan.refused:
        return "refused"
    return "limited" if summary.limit and not scan.complete else "done"


def _counts(scan: CollectionSummary, applied: Applied) -> Mapping[str, Any]:
    vectors: dict[str, int] = {}
    for (_, name), counts in sorted(applied.vectors.items()):
        vectors[name] = vectors.get(name, 0) + counts.inserted + counts.updated
    return {
        "listed": scan.listed,
        "unchanged": scan.unchanged,
        "pulled": scan.pulled,
        "requests": scan.usage.requests,
        "features": {modality.value: asdict(counts) for modality, counts in sorted(applied.features.items())},
        "vectors_written": vectors,
    }
