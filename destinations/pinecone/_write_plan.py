"""From the manifest alone: what has to be written so that Pinecone holds what a batch wants, and what that changes, in
numbers. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from vectorferry.connector.plugin import Applied, Counts, Modality, RecordHashes
from vectorferry.destinations._postgres import FeatureKey
from vectorferry.destinations.pinecone._desired import DesiredBatch, DesiredFeature
from vectorferry.destinations.pinecone._manifest_tables import Place, RecordedAssets, RecordedFeature

_MOST_UPDATES: Final = 1_000
"""Pinecone takes 100 updates a second in a namespace, each of one record, but 100 upserts of some 150; and it bills an
update for the whole record, not for less. So more updates than these, in one batch, would only be slower."""


@dataclass(slots=True)
class WritePlan:
    """By index: features whose record is written whole, those of which only the metadata is, and those without one."""

    upserts: dict[str, list[DesiredFeature]] = field(default_factory=lambda: defaultdict(list))
    updates: dict[str, list[DesiredFeature]] = field(default_factory=lambda: defaultdict(list))
    deletes: dict[str, list[FeatureKey]] = field(default_factory=lambda: defaultdict(list))
    places: dict[Place, Modality] = field(default_factory=dict)
    """Every place that is touched, for the journal."""

    def delete(self, place: Place, modality: Modality) -> None:
        """Remove the record, if it is there."""
        self.deletes[place.index_name].append(place.key)
        self.places[place] = modality


def plan_writes(features: Iterable[DesiredFeature], recorded: RecordedAssets, updated: Mapping[str, int]) -> WritePlan:
    """Compare what is desired of some features with what is recorded of them. `updated` says how many of the batch's
    features were only updated so far, by index."""
    plan = WritePlan()
    for desired in features:
        for index in desired.records:
            place = Place(*desired.key, index)
            writes = _writes_for(plan, place, desired, recorded)
            if writes is not None:
                writes[index].append(desired)
                plan.places[place] = desired.modality
    _replace_updates(plan, updated)
    return plan


def plan_stale(desired: DesiredBatch, recorded: RecordedAssets) -> WritePlan:
    """Delete what is, or may be, in the store and nobody wants: of the batch's modalities, and of features that have
    come to be of one of these. Features that were set aside whole stay as they are."""
    plan = WritePlan()
    for place, modality in sorted(_places(recorded).items()):
        if place.key in desired.kept:
            continue
        now = desired.touched.get(place.key, modality)
        if now in desired.batch.modalities and not desired.wants(place):
            plan.delete(place, now)
    return plan


def plan_removal(recorded: RecordedAssets) -> WritePlan:
    """Delete every record of these assets that is, or may be, there."""
    plan = WritePlan()
    for place, modality in sorted(_places(recorded).items()):
        plan.delete(place, modality)
    return plan


def count_written(desired: DesiredBatch, recorded: RecordedAssets, vector_of: Callable[[str], str]) -> Applied:
    """What a batch has changed, in numbers. `vector_of` names the vector that an index holds."""
    applied = Applied()
    for asset in desired.assets.values():
        applied.assets.compare(recorded.assets.get(asset.asset_id), asset.row_hash)
    modalities = desired.batch.modalities
    before = {key: feature for key, feature in recorded.features.items() if feature.modality in modalities}
    after = {key: _comparable(feature.recorded, before.get(key)) for key, feature in desired.features.items()}
    applied.compare(_digests(before, vector_of), _digests(after | desired.kept, vector_of))
    for record in desired.rejected:
        applied.set_aside(record)
    return applied


def count_removed(recorded: RecordedAssets, vector_of: Callable[[str], str]) -> Applied:
    """What the removal of assets has changed, in numbers."""
    applied = Applied(assets=Counts(deleted=len(recorded.assets)))
    applied.compare(_digests(recorded.features, vector_of), {})
    return applied


def _writes_for(
    plan: WritePlan, place: Place, desired: DesiredFeature, recorded: RecordedAssets
) -> dict[str, list[DesiredFeature]] | None:
    """The part of the plan that this record belongs to; None where it is as it should be."""
    before = None if place in recorded.unconfirmed else recorded.features.get(desired.key)
    if before is None or before.records.get(place.index_name) != desired.records[place.index_name].digest:
        return plan.upserts
    if before.keys_hash != desired.recorded.keys_hash:
        return plan.upserts  # an update merges: a key that is gone would stay
    return plan.updates if before.metadata_hash != desired.recorded.metadata_hash else None


def _replace_updates(plan: WritePlan, updated: Mapping[str, int]) -> None:
    """Write whole records where very many have changed: an update is a request for each of them."""
    for index, features in [*plan.updates.items()]:
        room = max(_MOST_UPDATES - updated.get(index, 0), 0)
        if rest := features[room:]:
            plan.upserts[index] += rest
            plan.updates[index] = features[:room]


def _places(recorded: RecordedAssets) -> dict[Place, Modality]:
    certain = {
        Place(*key, index): feature.modality for key, feature in recorded.features.items() for index in feature.records
    }
    return {**certain, **recorded.unconfirmed}


def _comparable(after: RecordedFeature, before: RecordedFeature | None) -> RecordedFeature:
    """A manifest that was rebuilt from the store has no hash of the row; its metadata says whether it is the same."""
    same = before is not None and before.row_hash is None and before.metadata_hash == after.metadata_hash
    return after.without_row_hash() if same else after


def _digests(features: Mapping[FeatureKey, RecordedFeature], vector_of: Callable[[str], str]) -> RecordHashes:
    digests: dict[tuple[Modality, str | None, Hashable], bytes] = {}
    for key, feature in features.items():
        digests[feature.modality, None, key] = feature.row_hash or b""
        for index, digest in feature.records.items():
            digests[feature.modality, vector_of(index), key] = digest
    return digests
