"""Ways to run what definitions describe, and to read what the run left behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg


def materialize(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    *partitions: str,
    select: Sequence[str] = ("media/video", "media/image", "media/text", "media/audio"),
    resources: dict[str, Any] | None = None,
    full: bool = False,
    reread: bool = False,
) -> dg.ExecuteInProcessResult:
    """One run of these tables for one partition, or for the range between two; failing is an answer too."""
    first, last = partitions[0], partitions[-1]
    span = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return dg.materialize(
        [asset for asset in defs.assets or [] if isinstance(asset, dg.AssetsDefinition | dg.AssetSpec)],
        selection=list(select),
        partition_key=first if first == last else None,
        tags=span if first != last else None,
        instance=instance,
        run_config={"ops": {"media": {"config": {"full": full, "reread": reread}}}} if full or reread else None,
        resources={**(defs.resources or {}), **(resources or {})},
        raise_on_error=False,
    )


def recorded(instance: dg.DagsterInstance, key: str, limit: int = 100) -> dict[str | None, dict[str, Any]]:
    """The metadata of the newest materialization of an asset, by partition."""
    records = instance.fetch_materializations(dg.AssetKey.from_user_string(key), limit=limit).records
    newest: dict[str | None, dict[str, Any]] = {}
    for record in records:
        event = record.asset_materialization
        assert event is not None
        newest.setdefault(event.partition, {name: value.value for name, value in event.metadata.items()})
    return newest


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """What a failed step said, with the errors behind it."""
    (event,) = (event for event in result.all_events if event.is_step_failure)
    assert event.step_failure_data.error
    return event.step_failure_data.error.to_string()


def attempts(result: dg.ExecuteInProcessResult) -> int:
    """How often the step was tried, or would have been had it not failed for good."""
    return 1 + sum(event.is_step_up_for_retry for event in result.all_events)
