"""What a sync of so much would take, from the settings: hours, bytes, memory, dollars, and what will not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from os import environ as process_environ

from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._engine._opening import destination_label, opened_at
from vectorferry.connector._model._errors import VectorferryError
from vectorferry.connector._model._records import Modality
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Planned
from vectorferry.connector._protocols._scale import Load, VectorLoad
from vectorferry.connector._reports._scale import Scale


def run_scale(
    settings: SyncSettings,
    features: int,
    dimension: int | None = None,
    *,
    environ: Mapping[str, str] = process_environ,
) -> Scale:
    """What a first sync of so many features takes by these settings.

    How many vectors a feature has, and of which dimensions, is as in what the destinations hold, where one can be asked
    and holds anything; else as it usually is at such a source. `dimension` is that of all dense vectors instead.
    """
    usual = settings.source.load(features)
    planned = next(_stored(settings, environ), None) if dimension is None else None
    load = usual if planned is None else load_like(planned, features)
    if dimension is not None:
        load = load.with_dimension(dimension)
    return scale(settings, load, measured=planned is not None)


def scale(settings: SyncSettings, load: Load, *, measured: bool = False) -> Scale:
    """Every leg of the way, as each part of the settings works it out. Nothing is opened."""
    reading = settings.source.legs(load)
    writing = {destination_label(each): each.legs(load, settings.modalities) for each in settings.destinations}
    return Scale(settings.name, load, measured, reading, writing)


def load_like(planned: Planned, features: int) -> Load:
    """So many features, like those that a destination holds."""
    averages, kinds = planned.averages, {(name, dimension): of for of, name, dimension in planned.vector_kinds}
    counts: Counter[tuple[str, int | None]] = Counter()
    for each in planned.index_advice:
        counts[each.vector_name, each.dimension] += each.rows
    rows_per_feature = averages.rows_per_feature if averages else 2.0
    # A feature's own row is one of them, the others are vectors.
    share = features * max(0.0, rows_per_feature - 1) / max(1, counts.total())
    vectors = [
        VectorLoad(kinds.get(key) or Modality.VIDEO, *key, round(rows * share))
        for key, rows in sorted(counts.items(), key=str)
    ]
    return Load(max(1, round(features / (averages.features_per_asset if averages else 10))), features, vectors)


def _stored(settings: SyncSettings, environ: Mapping[str, str]) -> Iterator[Planned]:
    """What destinations hold that can be asked and hold vectors."""
    for place in range(len(settings.destinations)):
        try:
            with opened_at(settings, place, environ) as destination:
                if Capability.PLAN in destination.capabilities:
                    planned = destination.planned(settings.modalities)
                    if planned.index_advice and planned.averages:
                        yield planned
        except VectorferryError:
            continue
