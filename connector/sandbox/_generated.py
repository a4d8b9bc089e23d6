"""A catalogue of any size for benchmarks: plain assets, noise for vectors."""

from __future__ import annotations

from uuid import UUID, uuid5

from vectorferry.connector.sandbox._library import Library, StoredAsset, StoredFeature
from vectorferry.connector.sandbox._settings import GeneratedCatalogue
from vectorferry.connector.sandbox._vectors import NoiseVector

__all__ = ["generated_library"]

_NAMESPACE = UUID("6f0b3c8e-52f1-4c0b-9f0c-3d1f5b7a9e21")
_CREATED = "2024-11-07T12:00:00.000000"


def generated_library(settings: GeneratedCatalogue) -> Library:
    """Assets ``0, 1, …`` dealt out to the collections in turn; only their fields are held, no vector is."""
    library = Library()
    for collection in settings.collections:
        library.add_collection(collection)
    for number in range(settings.assets):
        library.add(_asset(settings, number))
    return library


def _asset(settings: GeneratedCatalogue, number: int) -> StoredAsset:
    asset_id = str(uuid5(_NAMESPACE, f"{settings.seed}/{number}"))
    collection_id = settings.collections[number % len(settings.collections)]
    fields = {
        "asset_id": asset_id,
        "collection_id": collection_id,
        "status": "DONE",
        "url": None,
        "metadata": {"number": number, "author": f"author {number % 17}"},
        "error": None,
        "modality": settings.modality,
        "updated_at": _CREATED,
        "created_at": _CREATED,
    }
    features = (
        _feature(settings, asset_id, collection_id, number, part) for part in range(settings.features_per_asset)
    )
    return StoredAsset(asset_id, collection_id, fields, {feature.feature_id: feature for feature in features})


def _feature(settings: GeneratedCatalogue, asset_id: str, collection_id: str, number: int, part: int) -> StoredFeature:
    feature_id = str(uuid5(_NAMESPACE, f"{settings.seed}/{number}/{part}"))
    fields = {
        "feature_id": feature_id,
        "modality": settings.modality,
        "asset_id": asset_id,
        "collection_id": collection_id,
        "metadata": {"author": f"author {number % 17}"},
        "start_time": part * 10.0,
        "end_time": part * 10.0 + 10.0,
        "interval_sec": 10,
        "transcription": f"segment {part} of generated asset {number}",
        "created_at": f"{_CREATED}Z",
    }
    seed = (settings.seed * settings.assets + number) * settings.features_per_asset + part
    return StoredFeature(feature_id, asset_id, fields, {settings.vector_name: NoiseVector(seed, settings.dimension)})
