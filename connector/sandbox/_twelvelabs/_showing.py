"""An indexed asset as the dialect shows it: the row of a list, and all of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from random import Random
from typing import Any

import orjson

from vectorferry.connector.sandbox._http import Request
from vectorferry.connector.sandbox._twelvelabs._context import Context
from vectorferry.connector.sandbox._twelvelabs._errors import invalid
from vectorferry.connector.sandbox._twelvelabs._query import flag, values
from vectorferry.connector.sandbox._twelvelabs._things import Index, IndexedAsset, Segment, Spoken

__all__ = ["entries_of", "print_embedding", "show_asset", "show_row", "show_segment", "show_spoken", "words_of"]

_OPTIONS = ("visual", "audio", "transcription", "visual-text")


def show_row(context: Context, asset: IndexedAsset) -> dict[str, Any]:
    """What a list says: no metadata of the user's, no vectors, no transcription."""
    shown: dict[str, Any] = {
        "_id": asset.indexed_asset_id,
        "asset_id": asset.asset_id,
        "created_at": context.time(asset.created_at),
        "updated_at": context.time(asset.updated_at),
        "status": asset.status,
        context.dialect.system_metadata: asset.system_metadata,
    }
    if not context.dialect.asset_ids:
        del shown["asset_id"]
    if asset.indexed_at is not None:
        shown["indexed_at"] = context.time(asset.indexed_at)
    return {**shown, **{name: value for name, value in asset.fields.items() if name in shown}}


def show_asset(context: Context, index: Index, asset: IndexedAsset, request: Request) -> dict[str, Any]:
    """All of it; vectors and transcription only when they are asked for."""
    shown = {**show_row(context, asset), "user_metadata": asset.user_metadata}
    if asset.stream is not None and asset.status == "ready":
        shown["hls"] = _stream(context, asset, asset.stream)
    options = _options(context, index, request)
    if options and asset.status == "ready":
        shown["embedding"] = print_embedding(context, index, asset, options)
    if flag(request, "transcription") and asset.status == "ready":
        shown["transcription"] = show_spoken(context, asset.spoken)
    return {**shown, **asset.fields}


def print_embedding(context: Context, index: Index, asset: IndexedAsset, options: Iterable[str]) -> orjson.Fragment:
    """The `embedding` object with the segments of these options."""
    wanted = frozenset(options)
    key = (asset.indexed_asset_id, asset.revision, wanted)
    return context.embeddings.get(key, lambda: _embedding(context, index, asset, wanted))


def show_spoken(context: Context, spoken: Sequence[Spoken]) -> list[dict[str, Any]] | None:
    """Sentences or words with their times."""
    if not spoken:
        return None if context.dialect.silence == "null" else []
    parts = spoken if context.dialect.transcription == "sentences" else words_of(spoken)
    return entries_of(parts)


def entries_of(spoken: Sequence[Spoken]) -> list[dict[str, Any]]:
    """What is said, with its times."""
    return [{"start": one.start, "end": one.end, "value": one.value} for one in spoken]


def _options(context: Context, index: Index, request: Request) -> tuple[str, ...]:
    options = tuple(dict.fromkeys(values(request, "embedding_option")))
    there = {*index.options, *({"transcription"} if "audio" in index.options else ())}
    for option in options:
        if option not in _OPTIONS or (option not in there and context.dialect.absent_option == "refused"):
            raise invalid("embedding_option", f"The index {index.index_id} has no embeddings of {option[:40]!r}.")
    return options


def _embedding(context: Context, index: Index, asset: IndexedAsset, options: Collection[str]) -> dict[str, Any]:
    wanted = [one for one in (*asset.segments, *_whole(context, asset)) if one.option in options]
    if context.dialect.segment_order == "shuffled":
        Random(asset.indexed_asset_id).shuffle(wanted)
    return {"model_name": index.model_name, "video_embedding": {"segments": [show_segment(one) for one in wanted]}}


def show_segment(segment: Segment) -> dict[str, Any]:
    """A segment the way indexed assets and the first embedding tasks have it."""
    return {
        "start_offset_sec": segment.start,
        "end_offset_sec": segment.end,
        "embedding_option": segment.option,
        "embedding_scope": segment.scope,
        "float": segment.vector.json(),
    }


def _whole(context: Context, asset: IndexedAsset) -> list[Segment]:
    scope = context.dialect.whole_asset
    if scope == "none":
        return []
    first = {segment.option: segment for segment in reversed(asset.segments)}
    end = asset.system_metadata.get("duration", 0)
    return [Segment(0, end, option, one.vector, scope) for option, one in sorted(first.items())]


def _stream(context: Context, asset: IndexedAsset, stream: str) -> dict[str, Any]:
    rule = context.dialect.signed
    thumbnail = f"{stream.removesuffix('.m3u8')}.0000001.jpg"
    return {
        "video_url": context.signed(stream) if rule == "all" else stream,
        "thumbnail_urls": [thumbnail if rule == "none" else context.signed(thumbnail)],
        "status": "COMPLETE",
        "updated_at": context.time(asset.indexed_at or asset.updated_at),
    }


def words_of(spoken: Sequence[Spoken]) -> list[Spoken]:
    """Sentences word by word, equally long within each."""
    found = []
    for sentence in spoken:
        words = sentence.value.split()
        step = (sentence.end - sentence.start) / max(len(words), 1)
        for place, word in enumerate(words):
            start = sentence.start + place * step
            found.append(Spoken(round(start, 7), round(start + step, 7), word))
    return found
