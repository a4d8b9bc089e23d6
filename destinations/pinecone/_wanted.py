"""A batch as Pinecone should hold it: which records each feature has, and their metadata. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from connector import Batch, LoadedAsset, LoadedFeature, Modality, QuarantineError, Reason, Rejected, SchemaMapping

from .._postgres import FeatureKey
from ._layout import Layout, WantedRecord
from ._manifest import HeldFeature, ManifestRows
from ._metadata import Metadata, keys_hash, metadata_hash, record_metadata

__all__ = ["Wanted", "WantedFeature"]


@dataclass(frozen=True, slots=True, eq=False)
class WantedFeature:
    """One feature, its metadata, and its records by index. The metadata is the same in each."""

    key: FeatureKey
    feature: LoadedFeature
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


@dataclass(slots=True)
class Wanted:
    """Every feature of a batch that can be written, as far as it was laid out, and what was set aside."""

    batch: Batch
    features: dict[FeatureKey, WantedFeature] = field(default_factory=dict)
    touched: dict[FeatureKey, Modality] = field(default_factory=dict)
    """Those, and the ones that the store refused: whatever they were before, they are of these modalities now."""
    rejected: list[Rejected] = field(default_factory=list)

    def add(self, asset: LoadedAsset, layout: Layout, mapping: SchemaMapping) -> list[WantedFeature]:
        """Lay out the features of one more asset; one that Pinecone would refuse is set aside whole."""
        return [one for feature in asset.features for one in self._laid_out(asset, feature, layout, mapping)]

    def set_aside(self, refused: Mapping[FeatureKey, str]) -> None:
        """Take out features that the store refused, each with the store's words."""
        for key, words in refused.items():
            modality = self.features.pop(key).feature.modality
            self.rejected.append(Rejected(key[0], Reason.REFUSED, words, key[1], modality))

    def _laid_out(
        self, asset: LoadedAsset, feature: LoadedFeature, layout: Layout, mapping: SchemaMapping
    ) -> Iterator[WantedFeature]:
        key, modality = (asset.asset_id, feature.feature_id), feature.modality
        try:
            one = _feature(key, self.batch.collection, asset, feature, layout, mapping)
        except QuarantineError as error:
            self.rejected.append(Rejected(key[0], Reason(error.reason), str(error), key[1], modality))
        else:
            self.features[key] = one
            self.touched[key] = modality
            yield one

    def rows(self) -> ManifestRows:
        """What the manifest should hold for the batch's assets."""
        per_asset = {
            asset.asset_id: {modality.value: 0 for modality in self.batch.modalities} for asset in self.batch.assets
        }
        for (asset_id, _), one in self.features.items():
            per_asset[asset_id][one.feature.modality.value] += 1
        return ManifestRows({key: one.as_held() for key, one in self.features.items()}, per_asset, self.touched.keys())


def _feature(
    key: FeatureKey,
    collection: str,
    asset: LoadedAsset,
    feature: LoadedFeature,
    layout: Layout,
    mapping: SchemaMapping,
) -> WantedFeature:
    records = {record.index: record for record in layout.records(feature, mapping)}
    metadata = record_metadata(collection, asset, feature, layout.metadata)
    return WantedFeature(key, feature, metadata, metadata_hash(metadata), keys_hash(metadata), records)
