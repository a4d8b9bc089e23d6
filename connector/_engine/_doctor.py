"""A sync's parts asked one by one whether a run would get anywhere; no media are read, and nothing is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Set
from os import environ as process_environ
from pathlib import Path
from typing import Final

from vectorferry.connector._config import resolve_part
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._engine._opening import destination_label, opened_at, run_closing
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._model._records import MODALITIES
from vectorferry.connector._model._storable import safe_id
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Destination, Diagnosis, Health
from vectorferry.connector._reports._checkup import Checkup
from vectorferry.connector._reports._summary import first_of

NAMED: Final = 5
DAGSTER_HOME: Final = "DAGSTER_HOME"


def run_doctor(settings: SyncSettings, environ: Mapping[str, str] = process_environ) -> Checkup:
    """Look at the configuration's variables, the source and its key, every destination, and Dagster's directory.

    Costs one request or two of the source. What is wrong is in the answer, and not raised.
    """
    checkup = Checkup(settings.name)
    source = settings.source.type
    checkup.look_at(f"source {source}", lambda: _source(settings, environ))
    for place, destination in enumerate(settings.destinations):
        checkup.look_at(f"destination {destination_label(destination)}", _asking(settings, place, environ))
    checkup.look_at("dagster", lambda: _dagster(environ))
    return checkup


def _source(settings: SyncSettings, environ: Mapping[str, str]) -> Iterator[Diagnosis]:
    """One cheap request tells whether the address is right, and the key; and whether what the file names is there."""
    source = resolve_part(settings.source, environ, settings.where, ("source",)).open()

    async def ask() -> tuple[list[str], Mapping[str, str]]:
        return list(await source.collections()), source.not_found

    collections, not_found = run_closing(source, ask)
    yield from (Diagnosis(why, Health.FAILED) for why in not_found.values())
    if collections:
        names = first_of([safe_id(each) for each in collections], NAMED)
        yield Diagnosis(f"answers, and takes the key; {_counted(len(collections), 'collection')}: {names}")
    elif not not_found:
        yield Diagnosis(
            "answers, and takes the key, but shows no collection: is it the key of another account or namespace?",
            Health.NOTE,
        )


def _asking(settings: SyncSettings, place: int, environ: Mapping[str, str]) -> Callable[[], Iterator[Diagnosis]]:
    def ask() -> Iterator[Diagnosis]:
        with opened_at(settings, place, environ) as destination:
            yield from destination.diagnose()
            if Capability.PLAN in destination.capabilities:
                yield from _outlook(destination, settings)

    return ask


def _outlook(destination: Destination, settings: SyncSettings) -> Iterator[Diagnosis]:
    """What the next sync would meet there."""
    planned = destination.planned(settings.modalities)
    if planned.refusal:
        yield Diagnosis(planned.refusal, Health.FAILED)
        return
    collections = planned.collections()
    if not collections:
        yield Diagnosis("nothing is stored yet; `vectorferry sync` may make what it needs")
        return
    changes = "; the next sync changes its tables: see `vectorferry plan`" if planned.statements else ""
    yield Diagnosis(f"{_counted(len(collections), 'collection')} stored{changes}")
    if Capability.VECTOR_TABLES in destination.capabilities:
        yield from _unmatched({each.vector_name for each in destination.vector_tables()}, settings.modalities)


def _unmatched(vector_names: Set[str], mapping: SchemaMapping) -> Iterator[Diagnosis]:
    """Vectors that the file names, and that nothing stored has: a typo, mostly."""
    for modality in MODALITIES:
        for name in sorted(mapping.modality(modality).vectors.keys() - vector_names):
            stored = first_of(sorted(vector_names), NAMED) or "none"
            yield Diagnosis(
                f"`modalities.{modality}.vectors` names {name!r}, and nothing stored has such a vector; "
                f"there are: {stored}",
                Health.NOTE,
            )


def _dagster(environ: Mapping[str, str]) -> Iterator[Diagnosis]:
    home = environ.get(DAGSTER_HOME)
    if home is None:
        return
    path = Path(home)
    if not path.is_absolute():
        yield Diagnosis(f"{DAGSTER_HOME} is {home!r}: Dagster takes an absolute path only", Health.FAILED)
    elif not path.is_dir():
        yield Diagnosis(f"{DAGSTER_HOME} names {home}, which is no directory: make it", Health.FAILED)
    elif not os.access(path, os.W_OK | os.X_OK):
        yield Diagnosis(f"{DAGSTER_HOME} names {home}, which this account may not write to", Health.FAILED)
    else:
        yield Diagnosis(f"keeps its runs in {home}")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
