"""What a Mixpeek sandbox starts with: the described media under ids that are always the same, or noise of any size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from vectorferry.connector.sandbox._mixpeek._library import Library, StoredAsset, StoredFeature, time_text
from vectorferry.connector.sandbox._settings import GeneratedCatalogue
from vectorferry.connector.sandbox._shots import (
    Moment,
    Shot,
    catalogue,
    lesson_shots,
    note_shots,
    podcast_shots,
    product_shots,
    video_shots,
)
from vectorferry.connector.sandbox._vectors import NoiseVector, TextVector, VectorSource

_NAMESPACE = UUID("0b6f4f3e-8a41-4d0c-9f57-6f2f0f1c2d11")
_COLLECTIONS = ("quickstart", "product-shots", "lectures", "example")
_FILES = {
    "video": ("mp4", "video/mp4"),
    "image": ("jpg", "image/jpeg"),
    "text": ("txt", "text/plain"),
    "audio": ("mp3", "audio/mpeg"),
}
_INTERVAL = 10


def described_library() -> Library:
    """Four collections: `quickstart`, `product-shots`, `lectures`, and Mixpeek's own examples in `example`."""
    return Library(_describe)


def _describe(library: Library) -> None:
    for collection in _COLLECTIONS:
        library.add_collection(collection)
    for asset in _documented_assets():
        library.add(asset)
    for shots in (video_shots, note_shots, podcast_shots, product_shots, lesson_shots):
        for asset in _assets(shots()):
            library.add(asset)


def _documented_assets() -> Iterator[StoredAsset]:
    """A text and an image in `example`, and the quickstart's video: what Mixpeek's own guides show, ids and all."""
    for shown in catalogue()["documented_by_mixpeek"]:
        fields = dict(shown["fields"])
        asset = StoredAsset(fields["asset_id"], fields["collection_id"], fields)
        for feature in shown["features"]:
            vectors = {name: _documented_vector(name, words) for name, words in feature["vectors"].items()}
            feature_id = feature["fields"]["feature_id"]
            asset.features[feature_id] = StoredFeature(feature_id, asset.asset_id, dict(feature["fields"]), vectors)
        yield asset


def _documented_vector(model: str, words: Any) -> VectorSource:
    # Of one vector the guide prints the first two numbers and leaves out the rest.
    if isinstance(words, str):
        return TextVector(words, model)
    return TextVector(words["text"], model, head=tuple(words["head"]))


def _assets(shots: Iterable[Shot]) -> Iterator[StoredAsset]:
    created = datetime(2024, 11, 7, 8, 0, 0, 137_000)
    for number, shot in enumerate(shots):
        created += timedelta(minutes=17, seconds=4, milliseconds=331)
        yield _asset(shot, number, created)


def _asset(shot: Shot, number: int, created: datetime) -> StoredAsset:
    # Of each collection some are unfinished or failed, and have no features.
    asset_id = str(uuid5(_NAMESPACE, f"{shot.collection_id}/{shot.slug}"))
    status = {31: "PROCESSING", 47: "FAILED"}.get(number % 48 if number >= 24 else 0, "DONE")
    asset = StoredAsset(asset_id, shot.collection_id, _asset_fields(shot, asset_id, created, status))
    if status == "DONE":
        asset.features = {feature.feature_id: feature for feature in _features(shot, asset_id, created)}
    return asset


def _asset_fields(shot: Shot, asset_id: str, created: datetime, status: str) -> dict[str, Any]:
    ending, file_type = _FILES[shot.modality]
    digest = hashlib.blake2b(shot.slug.encode(), digest_size=16).digest()
    url = f"https://media.example.com/{shot.collection_id}/{shot.slug}"
    return {
        "asset_id": asset_id,
        "collection_id": shot.collection_id,
        "status": status,
        "url": None if shot.modality == "text" else f"{url}.{ending}",
        "preview_url": f"{url}.preview.jpg" if shot.modality in {"video", "image"} else None,
        "metadata": {"author": shot.author, "tags": list(shot.tags), "lang": shot.lang, **shot.metadata},
        "error": "The file could not be decoded: moov atom not found" if status == "FAILED" else None,
        "modality": shot.modality,
        "task_id": str(uuid5(_NAMESPACE, f"task/{asset_id}")),
        "file_hash": digest.hex(),
        "file_data": {"file_size_bytes": 20_000 + int.from_bytes(digest[:3]), "file_type": file_type},
        "duplicate_of": None,
        "updated_at": time_text(created + timedelta(seconds=1, milliseconds=955)),
        "created_at": time_text(created),
        "score": None,
    }


def _features(shot: Shot, asset_id: str, created: datetime) -> Iterator[StoredFeature]:
    for part, moment in enumerate(shot.moments):
        feature_id = str(uuid5(_NAMESPACE, f"{asset_id}/{part}"))
        fields = {
            "feature_id": feature_id,
            "modality": shot.modality,
            "asset_id": asset_id,
            "collection_id": shot.collection_id,
            "metadata": {"author": shot.author},
            **_content(shot.modality, moment, part),
            "created_at": f"{(created + timedelta(microseconds=580_031 + part)).isoformat()}Z",
        }
        yield StoredFeature(feature_id, asset_id, fields, _vectors(shot.modality, moment))


def _content(modality: str, moment: Moment, part: int) -> dict[str, Any]:
    start = part * _INTERVAL
    span = {"start_time": float(start), "end_time": float(start + _INTERVAL), "interval_sec": _INTERVAL}
    spoken = f"{start // 60}:{start % 60:02} {moment.speech}\n"
    match modality:
        case "video":
            written = f"{moment.caption}\n" if moment.caption else ""
            words = {"transcription": spoken, "text": written, "description": moment.scene}
            return {**span, **words, "json_output": {"emotions": list(moment.emotions)}}
        case "image":
            return {"description": moment.scene, "text": moment.caption}
        case "audio":
            return {**span, "transcription": spoken}
        case _:
            return {"text": moment.caption}


def _vectors(modality: str, moment: Moment) -> dict[str, VectorSource]:
    everything = " ".join(dict.fromkeys(part for part in moment[:3] if part))
    words = {"multimodal-v1": everything}
    if modality == "video":
        words["baai-bge-m3"] = moment.speech
    if modality == "text":
        words |= {"baai-bge-m3": moment.caption, "splade-v3": moment.caption}
    return {model: TextVector(text, model) for model, text in words.items()}


# A catalogue of any size for benchmarks: plain assets, noise for vectors.

_GENERATED_NAMESPACE = UUID("6f0b3c8e-52f1-4c0b-9f0c-3d1f5b7a9e21")
_GENERATED_AT = "2024-11-07T12:00:00.000000"


def generated_library(settings: GeneratedCatalogue) -> Library:
    """Assets ``0, 1, …`` dealt out to the collections in turn; only their fields are kept, no vector is."""
    library = Library()
    for collection in settings.collections:
        library.add_collection(collection)
    for number in range(settings.assets):
        library.add(_generated_asset(settings, number))
    return library


def _generated_asset(settings: GeneratedCatalogue, number: int) -> StoredAsset:
    asset_id = str(uuid5(_GENERATED_NAMESPACE, f"{settings.seed}/{number}"))
    collection_id = settings.collections[number % len(settings.collections)]
    fields = {
        "asset_id": asset_id,
        "collection_id": collection_id,
        "status": "DONE",
        "url": None,
        "metadata": {"number": number, "author": f"author {number % 17}"},
        "error": None,
        "modality": settings.modality,
        "updated_at": _GENERATED_AT,
        "created_at": _GENERATED_AT,
    }
    asset = StoredAsset(asset_id, collection_id, fields)
    for part in range(settings.features_per_asset):
        feature = _generated_feature(settings, asset, number, part)
        asset.features[feature.feature_id] = feature
    return asset


def _generated_feature(settings: GeneratedCatalogue, asset: StoredAsset, number: int, part: int) -> StoredFeature:
    feature_id = str(uuid5(_GENERATED_NAMESPACE, f"{settings.seed}/{number}/{part}"))
    fields = {
        "feature_id": feature_id,
        "modality": settings.modality,
        "asset_id": asset.asset_id,
        "collection_id": asset.collection_id,
        "metadata": {"author": f"author {number % 17}"},
        "start_time": part * 10.0,
        "end_time": part * 10.0 + 10.0,
        "interval_sec": 10,
        "transcription": f"segment {part} of generated asset {number}",
        "created_at": f"{_GENERATED_AT}Z",
    }
    seed = (settings.seed * settings.assets + number) * settings.features_per_asset + part
    return StoredFeature(
        feature_id, asset.asset_id, fields, {settings.vector_name: NoiseVector(seed, settings.dimension)}
    )
