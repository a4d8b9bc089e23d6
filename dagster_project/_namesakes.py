"""Which sensors of a sync are evaluated, and where. Two syncs of one name in two code locations Dagster cannot keep
apart: both have one list of partitions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Set
from typing import Final

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorState, InstigatorType, SensorInstigatorData

from vectorferry import SyncSettings
from vectorferry.connector.plugin import ConfigurationError

SENSORS: Final = ("discovery", "changes", "outside")
SECONDS_OF_A_TICK: Final = 300
"""Since a sensor has last been evaluated: a code location that is gone, or was renamed, evaluates none any more."""


def check_name(instance: dg.DagsterInstance, settings: SyncSettings, location: str | None = None) -> None:
    """Raise `ConfigurationError` where sensors of a sync of this name are evaluated in several code locations; this one
    is in `location`, if that is known. Each would take the other's collections for vanished ones."""
    locations = sorted({*_locations(instance, settings.name), *filter(None, [location])})
    if len(locations) > 1:
        raise ConfigurationError(
            f"{settings.where}: the code locations {' and '.join(locations)} each have a sync named {settings.name}, "
            "and Dagster keeps the partitions and the history of both together. Give one of them another `name`, and "
            "the `schema` and `index_prefix` that it had."
        )


def is_evaluated(instance: dg.DagsterInstance, settings: SyncSettings, sensor: str) -> bool:
    """Whether this sensor of the sync is switched on, and has been evaluated lately."""
    return any(state.is_running for state in _evaluated(instance, {f"{settings.name}_{sensor}"}))


def _locations(instance: dg.DagsterInstance, name: str) -> Iterator[str]:
    for state in _evaluated(instance, {f"{name}_{sensor}" for sensor in SENSORS}):
        yield state.origin.repository_origin.code_location_origin.location_name


def _evaluated(instance: dg.DagsterInstance, names: Set[str]) -> Iterator[InstigatorState]:
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
        if state.name in names and _evaluated_at(state) > time.time() - SECONDS_OF_A_TICK:
            yield state


def _evaluated_at(state: InstigatorState) -> float:
    data = state.instigator_data
    return (data.last_tick_start_timestamp if isinstance(data, SensorInstigatorData) else None) or 0.0
