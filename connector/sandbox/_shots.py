"""From a description to an asset with features, in the fields that Mixpeek shows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from vectorferry.connector.sandbox._library import StoredAsset, StoredFeature
from vectorferry.connector.sandbox._subjects import Moment
from vectorferry.connector.sandbox._vectors import TextVector, VectorSource

__all__ = ["Clock", "Shot", "shoot"]

_NAMESPACE = UUID("0b6f4f3e-8a41-4d0c-9f57-6f2f0f1c2d11")
_FILES = {
    "video": ("mp4", "video/mp4"),
    "image": ("jpg", "image/jpeg"),
    "text": ("txt", "text/plain"),
    "audio": ("mp3", "audio/mpeg"),
}
_INTERVAL = 10


class Shot(NamedTuple):
    """One asset to be."""

    collection_id: str
    slug: str
    modality: str
    author: str
    tags: tuple[str, ...]
    lang: str
    moments: tuple[Moment, ...]
    metadata: Mapping[str, Any]


class Clock:
    """Gives every asset times of its own."""

    def __init__(self) -> None:
        self._now = datetime(2024, 11, 7, 8, 0, 0, 137_000)

    def next(self) -> datetime:
        """Seventeen minutes and a bit after the last one."""
        self._now += timedelta(minutes=17, seconds=4, milliseconds=331)
        return self._now


def shoot(shot: Shot, number: int, clock: Clock) -> StoredAsset:
    """The asset with its features. Of each collection some are unfinished or failed, and have no features."""
    asset_id = str(uuid5(_NAMESPACE, f"{shot.collection_id}/{shot.slug}"))
    created = clock.next()
    status = {31: "PROCESSING", 47: "FAILED"}.get(number % 48 if number >= 24 else 0, "DONE")
    fields = _asset_fields(shot, asset_id, created, status)
    asset = StoredAsset(asset_id, shot.collection_id, fields)
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
        "updated_at": _milliseconds(created + timedelta(seconds=1, milliseconds=955)),
        "created_at": _milliseconds(created),
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
    span = {"start_time": float(part * _INTERVAL), "end_time": float((part + 1) * _INTERVAL)}
    spoken = f"{part * _INTERVAL // 60}:{part * _INTERVAL % 60:02} {moment.said}\n"
    match modality:
        case "video":
            written = f"{moment.written}\n" if moment.written else ""
            seen = {"transcription": spoken, "text": written, "description": moment.seen}
            return {**span, "interval_sec": _INTERVAL, **seen, "json_output": {"emotions": list(moment.emotions)}}
        case "image":
            return {"description": moment.seen, "text": moment.written}
        case "audio":
            return {**span, "interval_sec": _INTERVAL, "transcription": spoken}
        case _:
            return {"text": moment.written}


def _vectors(modality: str, moment: Moment) -> dict[str, VectorSource]:
    everything = " ".join(dict.fromkeys(part for part in moment[:3] if part))
    vectors: dict[str, VectorSource] = {"multimodal-v1": TextVector(everything, "multimodal-v1")}
    if modality == "video":
        vectors["baai-bge-m3"] = TextVector(moment.said, "baai-bge-m3")
    if modality == "text":
        vectors["baai-bge-m3"] = TextVector(moment.written, "baai-bge-m3")
        vectors["splade-v3"] = TextVector(moment.written, "splade-v3")
    return vectors


def _milliseconds(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds") + "000"
