"""What has to be written so that Pinecone holds what a batch wants, decided from the manifest alone. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from vectorferry.connector.plugin import Modality
from vectorferry.destinations.pinecone._manifest_tables import Held, Place

from .._postgres import FeatureKey
from ._wanted import Wanted, WantedFeature

__all__ = ["Plan", "plan_removal", "plan_stale", "plan_writes"]

_MOST_UPDATES: Final = 1_000
"""Pinecone takes 100 updates a second in a namespace, each of one record, but 100 upserts of some 150; and it bills an
update for the whole record, not for less. So more updates than these, in one batch, would only be slower."""


@dataclass(slots=True)
class Plan:
    """By index: features whose record is written whole, those of which only the metadata is, and those without one."""

    upserts: dict[str, list[WantedFeature]] = field(default_factory=lambda: defaultdict(list))
    updates: dict[str, list[WantedFeature]] = field(default_factory=lambda: defaultdict(list))
    deletes: dict[str, list[FeatureKey]] = field(default_factory=lambda: defaultdict(list))
    places: dict[Place, Modality] = field(default_factory=dict)
    """Every place that is touched, for the journal."""

    def upsert(self, index: str, one: WantedFeature) -> None:
        """Write the whole record."""
        self.upserts[index].append(one)
        self.places[Place(*one.key, index)] = one.feature.modality

    def update(self, index: str, one: WantedFeature) -> None:
        """Write the metadata only."""
        self.updates[index].append(one)
        self.places[Place(*one.key, index)] = one.feature.modality

    def delete(self, place: Place, modality: Modality) -> None:
        """Remove the record, if it is there."""
        self.deletes[place.index].append(place.key)
        self.places[place] = modality


def plan_writes(features: Iterable[WantedFeature], held: Held, updated: Mapping[str, int]) -> Plan:
    """Compare what is wanted of some features with what the manifest holds of them. `updated` says how many of the
    batch's features were only updated so far, by index."""
    plan = Plan()
    for one in features:
        for index in one.records:
            _compare(plan, one, index, held)
    _join_updates(plan, updated)
    return plan


def plan_stale(wanted: Wanted, held: Held) -> Plan:
    """Delete what is, or may be, in the store and nobody wants: of the batch's modalities, and of features that have
    come to be of one of these. Features that were set aside whole stay as they are."""
    plan = Plan()
    for place, modality in sorted(_places(held).items()):
        if place.key in wanted.kept:
            continue
        now = wanted.touched.get(place.key, modality)
        if now in wanted.batch.modalities and not _is_wanted(place, wanted):
            plan.delete(place, now)
    return plan


def plan_removal(held: Held) -> Plan:
    """Delete every record of these assets that is, or may be, there."""
    plan = Plan()
    for place, modality in sorted(_places(held).items()):
        plan.delete(place, modality)
    return plan


def _compare(plan: Plan, one: WantedFeature, index: str, held: Held) -> None:
    before = None if Place(*one.key, index) in held.unconfirmed else held.features.get(one.key)
    if before is None or before.records.get(index) != one.records[index].digest:
        plan.upsert(index, one)
    elif before.keys_hash != one.keys_hash:
        plan.upsert(index, one)  # an update merges: a key that is gone would stay
    elif before.metadata_hash != one.metadata_hash:
        plan.update(index, one)


def _join_updates(plan: Plan, updated: Mapping[str, int]) -> None:
    """Write whole records where very many have changed: an update is a request for each of them."""
    for index, features in [*plan.updates.items()]:
        room = max(_MOST_UPDATES - updated.get(index, 0), 0)
        if rest := features[room:]:
            plan.upserts[index] += rest
            plan.updates[index] = features[:room]


def _is_wanted(place: Place, wanted: Wanted) -> bool:
    one = wanted.features.get(place.key)
    return one is not None and place.index in one.records


def _places(held: Held) -> dict[Place, Modality]:
    certain = {
        Place(*key, index): feature.modality for key, feature in held.features.items() for index in feature.records
    }
    return {**certain, **held.unconfirmed}
