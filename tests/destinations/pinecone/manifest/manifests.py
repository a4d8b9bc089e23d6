"""Commits with as little said as a test needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vectorferry.connector.plugin import Batch, Modality, Rejected
from vectorferry.destinations.pinecone._manifest import Manifest
from vectorferry.destinations.pinecone._manifest_tables import ManifestRows, RecordedFeature

LAYOUT = "layout-1"
NAMESPACE = "ads"
INDEX = "media-model-v1-8"


def recorded(
    mark: str = "1", modality: Modality = Modality.VIDEO, indexes: tuple[str, ...] = (INDEX,), metadata: str = "m"
) -> RecordedFeature:
    """A feature as the manifest holds it; another mark is another content."""
    return RecordedFeature(
        modality=modality,
        row_hash=b"row" + mark.encode(),
        metadata_hash=metadata.encode(),
        keys_hash=b"keys",
        records={index: mark.encode() for index in indexes},
    )


def rows(batch: Batch, features: Mapping[tuple[str, str], RecordedFeature]) -> ManifestRows:
    """What to record for a batch, with the counts that the ledger wants."""
    counts = {each.asset_id: {modality.value: 0 for modality in batch.modalities} for each in batch.assets}
    for (asset_id, _), one in features.items():
        counts[asset_id][one.modality.value] += 1
    return ManifestRows(features, counts)


def commit(
    manifest: Manifest,
    batch: Batch,
    features: Mapping[tuple[str, str], RecordedFeature],
    *,
    layout: str = LAYOUT,
    written: Mapping[str, int] | None = None,
    rejected: Sequence[Rejected] | None = None,
) -> None:
    """Commit a batch of which these features were written; `rejected` where the store has set more aside."""
    aside = [*(each for asset in batch.assets for each in asset.rejected), *batch.rejected]
    desired = rows(batch, features)
    with manifest.alone(batch.collection):
        manifest.enter(batch, desired, aside if rejected is None else rejected, layout)
        manifest.confirm(batch.collection, desired, written or {}, NAMESPACE)
