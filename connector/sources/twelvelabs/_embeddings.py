"""Where an answer keeps its segments, and what kind of media they are of. Pure."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Mapping
from typing import Any

from vectorferry.connector._records import Modality

__all__ = ["media_of", "modality_of", "segment_rows"]


def segment_rows(answer: Any) -> list[Any] | None:
    """The segments under ``video_embedding`` and its like; None when there is no list of them at all."""
    found = [part["segments"] for _, part in _parts(answer) if isinstance(part.get("segments"), list)]
    return [row for rows in found for row in rows] if found else None


def media_of(answer: Any) -> tuple[str | None, Mapping[str, Any]]:
    """What kind of media an embedding task is of (``video``, ``audio``, …), and what it says of them."""
    for kind, part in _parts(answer):
        metadata = part.get("metadata")
        return kind, metadata if isinstance(metadata, dict) else {}
    return None, {}


def modality_of(system: Any, rows: list[Any]) -> Modality:
    """Audio when nothing about a file can be seen. Everything else is a video: an index takes nothing but these."""
    described: Mapping[str, Any] = system if isinstance(system, dict) else {}
    if any(isinstance(row, dict) and row.get("embedding_option") == "visual" for row in rows):
        return Modality.VIDEO
    if described.get("width") or described.get("height") or described.get("fps"):
        return Modality.VIDEO
    file_type, _ = mimetypes.guess_type(str(described.get("filename")))
    return Modality.AUDIO if (file_type or ("audio" if rows else "video")).startswith("audio") else Modality.VIDEO


def _parts(answer: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for kind in ("video", "audio", "image", "text", "document"):
        part = answer.get(f"{kind}_embedding") if isinstance(answer, dict) else None
        if isinstance(part, dict):
            yield kind, part
