"""A batch as Pinecone should hold it: which records each feature has, and their metadata. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from vectorferry.connector.plugin import (
    Batch,
    MappedAsset,
    MappedFeature,
    Modality,
    QuarantineError,
    Reason,
    Rejected,
    SchemaMapping,
    StoredVersions,
    without_rejected,
)
from vectorferry.destinations.pinecone._manifest_tables import Held, HeldFeature, ManifestRows, Place

from .._postgres import FeatureKey
from ._layout import Layout, WantedRecord
from ._metadata import Metadata, keys_hash, metadata_hash, record_metadata

__all__ = ["Wanted", "WantedFeature", "with_fitting_vectors"]


@dataclass(frozen=True, slots=True, eq=False)
class WantedFeature:
    """One feature, its metadata, and its records by index. The metadata is the same in each."""

    key: FeatureKey
    feature: MappedFeature
    metadata: Metadata
    metadata_hash: bytes
    keys_hash: bytes
    records: Mapping[str, WantedRecord]

    @property
    def vector_bytes(self) -> int:
        """How much the numbers of its vectors take."""
        return sum(record.vector_bytes for record in self.records.values())

    def as_held(self) -> HeldFeature:
        """What the manifest holds once all of it is written."""
        return HeldFeature(
            modality=self.feature.modality,
            row_hash=self.feature.row_hash,
            metadata_hash=self.metadata_hash,
            keys_hash=self.keys_hash,
            records={index: record.digest for index, record in self.records.items()},
        )


class Wanted:
    """The assets of a batch, every feature of them that can be written, as far as it was laid out, and what was set
    aside.

    `columns` are the metadata that is stored for columns whose values were set aside. `kept` are features that were set
    aside whole and are stored. `touched` features are, whatever they were before, of these modalities now.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.assets = {asset.asset_id: asset for asset in batch.assets}
        self.columns: dict[FeatureKey, Metadata] = {}
        self.features: dict[FeatureKey, WantedFeature] = {}
        self.touched: dict[FeatureKey, Modality] = {}
        self.kept: dict[FeatureKey, HeldFeature] = {}

    @property
    def rejected(self) -> list[Rejected]:
        """Everything that was set aside, of the batch and of its assets."""
        return [*(each for asset in self.assets.values() for each in asset.rejected), *self.batch.rejected]

    def add(
        self, asset_id: str, layout: Layout, mapping: SchemaMapping, only: Set[str] | None = None
    ) -> list[WantedFeature]:
        """Lay out the features of one more asset (`only` some of them); one that Pinecone would refuse is set aside."""
        features = [one for one in self.assets[asset_id].features if only is None or one.feature_id in only]
        return [wanted for feature in features for wanted in self._laid_out(asset_id, feature, layout, mapping)]

    def set_aside_features(self, words: Mapping[FeatureKey, str]) -> None:
        """Take out features of which the store has refused every record, each with the store's words."""
        for key, said in words.items():
            modality = self.features.pop(key).feature.modality
            del self.touched[key]
            self._reject(Rejected(key[0], Reason.REFUSED, said, key[1], modality))

    def set_aside_vectors(self, words: Mapping[Place, str], layout: Layout) -> None:
        """Take out the vectors of records that the store has refused, each with the store's words."""
        for place, said in words.items():
            one = self.features[place.key]
            for name in layout.names_in(one.records[place.index]):
                modality = one.feature.modality
                self._reject(Rejected(place.asset_id, Reason.REFUSED, said, place.feature_id, modality, name))

    def give_up(self, places: Sequence[Place], layout: Layout) -> None:
        """Want these records no more, of which not even the earlier version was taken."""
        for place in places:
            one, asset = self.features[place.key], self.assets[place.asset_id]
            lost = {(place.feature_id, name) for name in layout.names_in(one.records[place.index])}
            told = (replace(r, kept=r.kept and (r.feature_id, r.vector_name) not in lost) for r in asset.rejected)
            self.assets[place.asset_id] = replace(asset, rejected=tuple(told))
            records = {index: record for index, record in one.records.items() if index != place.index}
            self.features[place.key] = replace(one, records=records)

    def keep(self, held: Held) -> None:
        """Let the features that were set aside whole stay as they are stored, if they are of the batch's modalities."""
        some = {asset_id for asset_id, asset in self.assets.items() if asset.rejected}
        if not some:
            return
        stored, read = defaultdict[str, list[tuple[str, str]]](list), defaultdict[str, set[str]](set)
        for (asset_id, feature_id), one in held.features.items():
            if asset_id in some and one.modality in self.batch.modalities:
                stored[asset_id].append((feature_id, one.modality.value))
        for asset_id, feature_id in self.features:
            read[asset_id].add(feature_id)
        for asset_id in some:
            self._keep(self.assets[asset_id], StoredVersions(read[asset_id], stored[asset_id]), held)

    def rows(self, uncertain: Set[FeatureKey]) -> ManifestRows:
        """What the manifest should hold for the batch's assets. A killed run had touched the `uncertain` features."""
        per_asset = {asset_id: {modality.value: 0 for modality in self.batch.modalities} for asset_id in self.assets}
        rows = {key: one.as_held() for key, one in self.features.items()} | self.kept
        for (asset_id, _), one in rows.items():
            per_asset[asset_id][one.modality.value] += 1
        return ManifestRows(rows, per_asset, self.touched.keys(), self.kept.keys() & uncertain)

    def _laid_out(
        self, asset_id: str, feature: MappedFeature, layout: Layout, mapping: SchemaMapping
    ) -> Iterator[WantedFeature]:
        key, asset = (asset_id, feature.feature_id), self.assets[asset_id]
        records = {record.index: record for record in layout.records(feature, mapping)}
        earlier = self.columns.get(key)
        try:
            metadata = record_metadata(self.batch.collection, asset, feature, layout.metadata, earlier)
        except QuarantineError as error:
            self._reject(Rejected(asset_id, Reason(error.reason), str(error), feature.feature_id, feature.modality))
        else:
            one = WantedFeature(key, feature, metadata, metadata_hash(metadata), keys_hash(metadata), records)
            self.features[key], self.touched[key] = one, feature.modality
            yield one

    def _keep(self, asset: MappedAsset, versions: StoredVersions, held: Held) -> None:
        rejected = []
        for record in asset.rejected:
            names = versions.whole(record)
            keys = [(asset.asset_id, feature_id) for feature_id, _ in names]
            self.kept |= {key: held.features[key] for key in keys}
            rejected.append(replace(record, kept=record.kept or bool(keys)))
        self.assets[asset.asset_id] = replace(asset, rejected=tuple(rejected))

    def _reject(self, record: Rejected) -> None:
        self.assets[record.asset_id] = without_rejected(self.assets[record.asset_id], [record])


def with_fitting_vectors(asset: MappedAsset, layout: Layout) -> MappedAsset:
    """The asset, in which each vector that Pinecone would refuse is set aside."""
    unfit = [
        Rejected(asset.asset_id, Reason(problem.reason), str(problem), feature.feature_id, feature.modality, name)
        for feature in asset.features
        for name, problem in layout.unfit_vectors(feature).items()
    ]
    return without_rejected(asset, unfit)
