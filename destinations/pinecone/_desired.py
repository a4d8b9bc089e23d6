"""A batch as Pinecone should hold it: which records each feature has, and their metadata. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Set
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
from vectorferry.destinations._postgres import FeatureKey
from vectorferry.destinations.pinecone._ids import record_id
from vectorferry.destinations.pinecone._layout import DesiredRecord, Layout
from vectorferry.destinations.pinecone._manifest_tables import ManifestRows, Place, RecordedAssets, RecordedFeature
from vectorferry.destinations.pinecone._metadata import Metadata, keys_hash, metadata_hash, record_metadata


@dataclass(slots=True, eq=False)  # a frozen one takes four times as long to make, and there are very many
class DesiredFeature:
    """One feature, its metadata, and its records by index. Id and metadata are the same in each. `recorded` is what
    the manifest holds once all of it is written."""

    key: FeatureKey
    record_id: str
    metadata: Metadata
    records: Mapping[str, DesiredRecord]
    recorded: RecordedFeature

    @property
    def modality(self) -> Modality:
        """The feature's."""
        return self.recorded.modality

    def without(self, index: str) -> DesiredFeature:
        """The same without its record in an index."""
        records = {name: record for name, record in self.records.items() if name != index}
        return replace(self, records=records, recorded=self.recorded.without(index))


class DesiredBatch:
    """The assets of a batch, every feature of them that can be written, as far as it was laid out, and what was set
    aside.

    `columns` are the metadata that is stored for columns whose values were set aside. `kept` are features that were set
    aside whole and are stored. `touched` features are, whatever they were before, of these modalities now.
    """

    def __init__(self, batch: Batch, layout: Layout, mapping: SchemaMapping) -> None:
        self.batch = batch
        self.assets = {asset.asset_id: asset for asset in batch.assets}
        self.columns: dict[FeatureKey, Metadata] = {}
        self.features: dict[FeatureKey, DesiredFeature] = {}
        self.touched: dict[FeatureKey, Modality] = {}
        self.kept: dict[FeatureKey, RecordedFeature] = {}
        self._layout = layout
        self._mapping = mapping

    @property
    def rejected(self) -> list[Rejected]:
        """Everything that was set aside, of the batch and of its assets."""
        return [*(record for asset in self.assets.values() for record in asset.rejected), *self.batch.rejected]

    def add(self, asset_id: str, only: Set[str] | None = None) -> list[DesiredFeature]:
        """Lay out the features of one more asset (`only` some of them); one that Pinecone would refuse is set aside."""
        asset = self.assets[asset_id]
        features = [feature for feature in asset.features if only is None or feature.feature_id in only]
        return [desired for feature in features if (desired := self._laid_out(asset, feature)) is not None]

    def wants(self, place: Place) -> bool:
        """Whether there is to be a record at this place."""
        desired = self.features.get(place.key)
        return desired is not None and place.index_name in desired.records

    def set_aside_features(self, words: Mapping[FeatureKey, str]) -> None:
        """Take out features of which the store has refused every record, each with the store's words."""
        for key, detail in words.items():
            modality = self.features.pop(key).modality
            del self.touched[key]
            self._reject(Rejected(key[0], Reason.REFUSED, detail, key[1], modality))

    def set_aside_vectors(self, words: Mapping[Place, str]) -> None:
        """Take out the vectors of records that the store has refused, each with the store's words."""
        for place, detail in words.items():
            desired = self.features[place.key]
            modality = desired.modality
            for name in self._layout.names_in(desired.records[place.index_name]):
                self._reject(Rejected(place.asset_id, Reason.REFUSED, detail, place.feature_id, modality, name))

    def give_up(self, places: Iterable[Place]) -> None:
        """Want these records no more, of which not even the earlier version was taken."""
        for place in places:
            desired, asset = self.features[place.key], self.assets[place.asset_id]
            lost = {(place.feature_id, name) for name in self._layout.names_in(desired.records[place.index_name])}
            rejected = (
                replace(record, kept=record.kept and (record.feature_id, record.vector_name) not in lost)
                for record in asset.rejected
            )
            self.assets[place.asset_id] = replace(asset, rejected=tuple(rejected))
            self.features[place.key] = desired.without(place.index_name)

    def keep(self, recorded: RecordedAssets) -> None:
        """Let the features that were set aside whole stay as they are stored, if they are of the batch's modalities."""
        incomplete = {asset_id for asset_id, asset in self.assets.items() if asset.rejected}
        if not incomplete:
            return
        stored, read = defaultdict[str, list[tuple[str, str]]](list), defaultdict[str, set[str]](set)
        for (asset_id, feature_id), feature in recorded.features.items():
            if asset_id in incomplete and feature.modality in self.batch.modalities:
                stored[asset_id].append((feature_id, feature.modality.value))
        for asset_id, feature_id in self.features:
            read[asset_id].add(feature_id)
        for asset_id in incomplete:
            self._keep(self.assets[asset_id], StoredVersions(read[asset_id], stored[asset_id]), recorded)

    def rows(self, uncertain: Set[FeatureKey]) -> ManifestRows:
        """What the manifest should hold for the batch's assets. A killed run had touched the `uncertain` features."""
        per_asset = {asset_id: {modality.value: 0 for modality in self.batch.modalities} for asset_id in self.assets}
        rows = {key: desired.recorded for key, desired in self.features.items()} | self.kept
        for (asset_id, _), row in rows.items():
            per_asset[asset_id][row.modality.value] += 1
        return ManifestRows(rows, per_asset, self.touched.keys(), self.kept.keys() & uncertain)

    def _laid_out(self, asset: MappedAsset, feature: MappedFeature) -> DesiredFeature | None:
        key = (asset.asset_id, feature.feature_id)
        records = {record.index: record for record in self._layout.records(feature, self._mapping)}
        try:
            metadata = record_metadata(
                self.batch.collection, asset, feature, self._layout.metadata, self.columns.get(key)
            )
        except QuarantineError as error:
            self._reject(
                Rejected(asset.asset_id, Reason(error.reason), str(error), feature.feature_id, feature.modality)
            )
            return None
        digests = {index: record.digest for index, record in records.items()}
        hashes = (feature.row_hash, metadata_hash(metadata), keys_hash(metadata))
        recorded = RecordedFeature(feature.modality, *hashes, digests)
        desired = DesiredFeature(key, record_id(*key), metadata, records, recorded)
        self.features[key], self.touched[key] = desired, feature.modality
        return desired

    def _keep(self, asset: MappedAsset, versions: StoredVersions, recorded: RecordedAssets) -> None:
        rejected = []
        for record in asset.rejected:
            keys = [(asset.asset_id, feature_id) for feature_id, _ in versions.whole(record)]
            self.kept |= {key: recorded.features[key] for key in keys}
            rejected.append(replace(record, kept=record.kept or bool(keys)))
        self.assets[asset.asset_id] = replace(asset, rejected=tuple(rejected))

    def _reject(self, record: Rejected) -> None:
        self.assets[record.asset_id] = without_rejected(self.assets[record.asset_id], [record])


def with_fitting_vectors(
    asset: MappedAsset, layout: Layout, mapping: SchemaMapping, indexed: Collection[str]
) -> MappedAsset:
    """The asset, in which each vector is set aside that Pinecone would refuse, or that needs a new index that nobody
    has asked for. There are indexes for the named vectors that are `indexed`."""
    unfit = [
        Rejected(asset.asset_id, Reason(problem.reason), str(problem), feature.feature_id, feature.modality, name)
        for feature in asset.features
        for name, problem in layout.unfit_vectors(feature, mapping, indexed).items()
    ]
    return without_rejected(asset, unfit)
