"""What somebody says about an asset, as one that can be served."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vectorferry.connector.sandbox._twelvelabs._things import Index, IndexedAsset, Segment, Spoken, Upload, object_id
from vectorferry.connector.sandbox._twelvelabs._times import now
from vectorferry.connector.sandbox._twelvelabs._vectors import MarengoVector
from vectorferry.connector.sandbox._vectors import RawVector, VectorSource, raw_json

__all__ = ["given_asset", "given_upload"]


def given_asset(index: Index, given: Mapping[str, Any], number: int) -> IndexedAsset:
    """`number` makes an id for an asset without one."""
    made = now()
    status = given.get("status", "ready")
    segments = tuple(_segments(index, given.get("segments", ())))
    filename = given.get("filename", f"{number}.mp4")
    duration = given.get("duration", max((one.end for one in segments), default=10.0))
    return IndexedAsset(
        given.get("asset_id") or object_id("put", index.index_id, number),
        index.index_id,
        given.get("upload_id") or object_id("put upload", index.index_id, number),
        made,
        made,
        status,
        made if status == "ready" else None,
        {"filename": filename, "duration": duration, "fps": 25, "width": 1280, "height": 720, "size": 1_000_000},
        dict(given.get("user_metadata", {})),
        segments,
        tuple(Spoken(one["start"], one["end"], one["value"]) for one in given.get("transcription", ())),
    )


def given_upload(asset: IndexedAsset) -> Upload:
    """The file that an asset is of."""
    known = asset.system_metadata
    return Upload(
        asset.asset_id,
        known["filename"],
        "video/mp4",
        asset.created_at,
        size=known["size"],
        duration=known["duration"],
        spoken=asset.spoken,
    )


def _segments(index: Index, given: Iterable[Mapping[str, Any]]) -> Iterator[Segment]:
    for one in given:
        yield Segment(one["start"], one["end"], one["option"], _vector(index, one), one.get("scope", "clip"))


def _vector(index: Index, given: Mapping[str, Any]) -> VectorSource:
    if "float" in given:
        return RawVector(raw_json(given["float"]))
    return MarengoVector(given.get("text", ""), index.model_name, index.dimension)
