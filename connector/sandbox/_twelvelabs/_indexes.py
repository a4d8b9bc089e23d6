"""``/indexes`` with their assets, under the new name and the old one, and ``/tasks``: how each came into its index."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from random import Random
from typing import Any
from urllib.parse import parse_qsl

import orjson

from vectorferry.connector.sandbox._http import Handlers, RefusedError, Reply, Request, json_reply
from vectorferry.connector.sandbox._twelvelabs._account import (
    Index,
    IndexedAsset,
    Segment,
    Upload,
    Utterance,
    later,
    now,
    object_id,
    whole_segments,
)
from vectorferry.connector.sandbox._twelvelabs._requests import (
    Context,
    flag,
    invalid,
    json_body,
    listed,
    looked_at,
    sorted_by_time,
    values,
)
from vectorferry.connector.sandbox._twelvelabs._sample import LENGTH, about, imagined

indexes: Handlers[Context] = Handlers()
indexed_assets: Handlers[Context] = Handlers()
"""Apart, for an account may know only the legacy videos."""

_OPTIONS = ("visual", "audio", "transcription", "visual-text")
_ASSETS = "/indexes/{index_id}/indexed-assets"
_ASSET = f"{_ASSETS}/{{indexed_asset_id}}"
_NUMBERS = ("duration", "fps", "width", "height", "size")
_INDEXING = ("pending", "queued", "indexing", "ready")
"""The states of what is being indexed: it moves on with each look at it."""
_KNOWN = {"page", "page_limit", "sort_by", "sort_option", "status", "filename"}


@indexes("twelvelabs.indexes.list", "GET", "/indexes")
def _indexes(context: Context, request: Request) -> Reply:
    name = request.query.get("index_name")
    named = (index for index in context.account.indexes.values() if name in {None, index.name})
    return listed(context, request, sorted_by_time(request, named), _show_index)


@indexes("twelvelabs.indexes.get", "GET", "/indexes/{index_id}")
def _index(context: Context, request: Request) -> Reply:
    return json_reply(_show_index(context, context.index(request.params[0])))


def _show_index(context: Context, index: Index) -> dict[str, Any]:
    ends = context.time(index.created_at + timedelta(days=90)) if context.dialect.expires_at else None
    seconds = sum(one.system_metadata.get("duration", 0) for one in index.assets.values())
    return {
        "_id": index.index_id,
        "index_name": index.name,
        "created_at": context.time(index.created_at),
        "updated_at": context.time(index.updated_at),
        "expires_at": ends,
        "video_count": len(index.assets),
        "total_duration": round(seconds, 6),
        "models": [{"model_name": index.model_name, "model_options": list(index.options), "addons": ["thumbnail"]}],
        "addons": ["thumbnail"],
    }


# What is in an index.


@indexed_assets("twelvelabs.indexed_assets.list", "GET", _ASSETS)
def _indexed_assets(context: Context, request: Request) -> Reply:
    states = set(values(request, "status"))
    rows = _matching(request, context.index(request.params[0]))
    return listed(context, request, [row for row in rows if row.status in states] if states else rows, _show_row)


@indexed_assets("twelvelabs.indexed_assets.get", "GET", _ASSET)
def _indexed_asset(context: Context, request: Request) -> Reply:
    # With the vectors that are asked for; a submitted one moves on after each look.
    asset = context.indexed_asset(*request.params)
    reply = json_reply(_show_asset(context, asset, request))
    looked_at(asset)
    return reply


@indexed_assets("twelvelabs.assets.indexed", "GET", "/assets/{asset_id}/indexed-assets")
def _of_upload(context: Context, request: Request) -> Reply:
    return listed(context, request, context.account.of_upload(context.upload(request.params[0]).asset_id), _show_place)


def _show_place(context: Context, asset: IndexedAsset) -> dict[str, Any]:
    index = context.account.indexes[asset.index_id]
    return {"_id": asset.indexed_asset_id, "index": {"_id": index.index_id, "name": index.name}}


@indexes("twelvelabs.videos.list", "GET", "/indexes/{index_id}/videos")
def _videos(context: Context, request: Request) -> Reply:
    # The same assets under their old name, without a status: only those that are ready.
    rows = _matching(request, context.index(request.params[0]))
    return listed(context, request, [row for row in rows if row.status == "ready"], _show_video)


@indexes("twelvelabs.videos.get", "GET", "/indexes/{index_id}/videos/{video_id}")
def _video(context: Context, request: Request) -> Reply:
    index_id, video_id = request.params
    asset = context.index(index_id).assets.get(video_id)
    ready = asset if asset is not None and asset.status == "ready" else None
    return json_reply(_nameless(_show_asset(context, context.require(ready, "videos", video_id), request)))


def _matching(request: Request, index: Index) -> list[IndexedAsset]:
    """Those that every filter but `status` lets through, in the order that is asked for."""
    bounds = {name: each for name in _NUMBERS if (each := _bounds(request.query, name))}
    metadata, filename = _metadata(request), request.query.get("filename")
    if not (bounds or metadata or filename is not None):
        return _in_order(request, index)  # a page of a long list, which is all that is asked for of most

    def matches(asset: IndexedAsset) -> bool:
        of_file = asset.system_metadata
        return (
            filename in (None, of_file.get("filename"))
            and all(_within(each, of_file.get(name)) for name, each in bounds.items())
            and all(_plain(asset.user_metadata.get(name)) == value for name, value in metadata.items())
        )

    return sorted_by_time(request, filter(matches, index.assets.values()))


def _in_order(request: Request, index: Index) -> list[IndexedAsset]:
    """All of them. A walk over a long list asks for the same order with each page, and sorting takes longer than
    everything else about one."""
    if (request.query.get("sort_by"), request.query.get("sort_option")) != ("created_at", "asc"):
        return sorted_by_time(request, index.assets.values())
    if index.oldest_first is None:
        index.oldest_first = sorted_by_time(request, index.assets.values())
    return index.oldest_first


def _within(bounds: Mapping[str, float], value: object) -> bool:
    """Whether a number is exactly the one asked for, or in the range of ``name[gte]`` and ``name[lte]``."""
    if not isinstance(value, int | float):
        return False
    exact, least, most = (bounds.get(kind) for kind in ("", "[gte]", "[lte]"))
    return (exact is None or value == exact) and (least is None or value >= least) and (most is None or value <= most)


def _bounds(query: Mapping[str, str], name: str) -> dict[str, float]:
    texts = {kind: query[f"{name}{kind}"] for kind in ("", "[gte]", "[lte]") if f"{name}{kind}" in query}
    try:
        return {kind: float(text) for kind, text in texts.items()}
    except ValueError:
        raise invalid(name, "It must be a number.") from None


def _plain(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _metadata(request: Request) -> dict[str, str]:
    """The user's own fields, which are asked for as ``user_metadata[name]`` or under their plain names."""
    metadata = {}
    for name, value in parse_qsl(request.raw_query):
        plain = name.removeprefix("user_metadata[").removesuffix("]") if name.startswith("user_metadata[") else name
        if plain != name or (name not in _KNOWN and name.split("[")[0] not in _NUMBERS):
            metadata[plain] = value
    return metadata


# How an asset is shown, in lists and alone.


def _show_row(context: Context, asset: IndexedAsset) -> dict[str, Any]:
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


def _show_video(context: Context, asset: IndexedAsset) -> dict[str, Any]:
    return _nameless(_show_row(context, asset))


def _nameless(shown: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in shown.items() if name not in {"status", "asset_id"}}


def _show_asset(context: Context, asset: IndexedAsset, request: Request) -> dict[str, Any]:
    """All of it; vectors and transcription only when they are asked for."""
    shown = {**_show_row(context, asset), "user_metadata": asset.user_metadata}
    if asset.stream is not None and asset.status == "ready":
        shown["hls"] = _stream(context, asset, asset.stream)
    options = _embedding_options(context.index(asset.index_id), request)
    if options and asset.status == "ready":
        shown["embedding"] = print_embedding(context, asset, options)
    if flag(request, "transcription") and asset.status == "ready":
        shown["transcription"] = _show_transcription(context, asset.utterances)
    return {**shown, **asset.fields}


def _stream(context: Context, asset: IndexedAsset, stream: str) -> dict[str, Any]:
    rule = context.dialect.signed
    thumbnail = f"{stream.removesuffix('.m3u8')}.0000001.jpg"
    return {
        "video_url": context.signed(stream) if rule == "all" else stream,
        "thumbnail_urls": [thumbnail if rule == "none" else context.signed(thumbnail)],
        "status": "COMPLETE",
        "updated_at": context.time(asset.indexed_at or asset.updated_at),
    }


def _embedding_options(index: Index, request: Request) -> tuple[str, ...]:
    options = tuple(dict.fromkeys(values(request, "embedding_option")))
    available = {*index.options, *({"transcription"} if "audio" in index.options else ())}
    for option in options:
        if option not in _OPTIONS or option not in available:
            raise invalid("embedding_option", f"The index {index.index_id} has no embeddings of {option[:40]!r}.")
    return options


def print_embedding(context: Context, asset: IndexedAsset, options: Iterable[str]) -> orjson.Fragment:
    """The `embedding` object with the segments of these options."""
    names = frozenset(options)
    key = (asset.indexed_asset_id, asset.revision, names)
    return context.embeddings.get(key, lambda: _embedding(context, asset, names))


def _embedding(context: Context, asset: IndexedAsset, options: Collection[str]) -> dict[str, Any]:
    scope, end = context.dialect.whole_asset, asset.system_metadata.get("duration", 0)
    whole = [] if scope == "none" else whole_segments(asset.segments, end, scope)
    every = (*asset.segments, *sorted(whole, key=lambda one: one.option))
    segments = [one for one in every if one.option in options]
    if context.dialect.segment_order == "shuffled":
        Random(asset.indexed_asset_id).shuffle(segments)
    model_name = context.index(asset.index_id).model_name
    return {"model_name": model_name, "video_embedding": {"segments": [show_segment(one) for one in segments]}}


def show_segment(segment: Segment) -> dict[str, Any]:
    """A segment the way indexed assets and the first embedding tasks have it."""
    return {
        "start_offset_sec": segment.start,
        "end_offset_sec": segment.end,
        "embedding_option": segment.option,
        "embedding_scope": segment.scope,
        "float": segment.vector.json(),
    }


def _show_transcription(context: Context, utterances: Sequence[Utterance]) -> list[dict[str, Any]] | None:
    if not utterances:
        return None if context.dialect.silence == "null" else []
    return entries_of(utterances if context.dialect.transcription == "sentences" else words_of(utterances))


def entries_of(utterances: Sequence[Utterance]) -> list[dict[str, Any]]:
    """What is said, with its times."""
    return [{"start": one.start, "end": one.end, "value": one.value} for one in utterances]


def words_of(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Sentences word by word, equally long within each."""
    entries = []
    for sentence in utterances:
        words = sentence.value.split()
        step = (sentence.end - sentence.start) / max(len(words), 1)
        for place, word in enumerate(words):
            start = sentence.start + place * step
            entries.append(Utterance(round(start, 7), round(start + step, 7), word))
    return entries


# Putting uploads into indexes, changing their metadata there, taking them out.


@indexed_assets("twelvelabs.indexed_assets.create", "POST", _ASSETS)
def _create(context: Context, request: Request) -> Reply:
    # What is in an upload is made up from its name.
    index, body = context.index(request.params[0]), json_body(request)
    if not isinstance(body.get("asset_id"), str):
        raise RefusedError(400, "The asset_id parameter is required.", kind="parameter_not_provided")
    upload = context.upload(body["asset_id"])
    if upload.status != "ready":
        raise invalid("asset_id", f"The asset is not ready: its status is {upload.status}.")
    number = len(context.account.of_upload(upload.asset_id))
    asset = _indexed(index, upload, number, streamed=body.get("enable_video_stream", True) is True)
    asset.user_metadata = {**upload.user_metadata, **_object_in(body, "user_metadata")}
    context.account.add(asset)
    index.updated_at = later(index.updated_at)
    reply = json_reply({"_id": asset.indexed_asset_id, "asset_id": upload.asset_id}, 202)
    reply.headers = {"Location": f"{request.origin}{request.path}/{asset.indexed_asset_id}"}
    return reply


def _object_in(body: dict[str, Any], name: str) -> dict[str, Any]:
    """A part of the body that is an object; an empty one when it is null or not there."""
    value = body.get(name) or {}
    if not isinstance(value, dict):
        raise invalid(name, "It must be an object.")
    return value


def _indexed(index: Index, upload: Upload, number: int, *, streamed: bool) -> IndexedAsset:
    created_at, video = now(), upload.file_type.startswith("video/")
    options = [one for one in index.options if one == "audio" or video]
    return IndexedAsset(
        object_id("submitted", index.index_id, upload.asset_id, number),
        index.index_id,
        upload.asset_id,
        created_at,
        created_at,
        _INDEXING[0],
        system_metadata={
            "filename": upload.filename,
            "duration": upload.duration,
            **({"fps": 25, "width": 1280, "height": 720} if video else {}),
            "size": upload.size,
        },
        segments=tuple(imagined(upload.filename, options, index.model_name, index.dimension)),
        utterances=upload.utterances or (Utterance(0.5, LENGTH, f"This is {about(upload.filename)}."),),
        stream=f"https://media.example.com/submitted/{upload.asset_id}.m3u8" if streamed else None,
        upcoming=_INDEXING[1:],
    )


@indexed_assets("twelvelabs.indexed_assets.update", "PATCH", _ASSET)
def _update(context: Context, request: Request) -> Reply:
    # Some of the user's metadata; null deletes a value.
    asset = context.indexed_asset(*request.params)
    asset.edit_metadata(_object_in(json_body(request), "user_metadata"))
    if context.dialect.edits_move_updated_at:
        asset.updated_at = later(asset.updated_at)
    return Reply(b"", 204)


@indexed_assets("twelvelabs.indexed_assets.delete", "DELETE", _ASSET)
def _delete(context: Context, request: Request) -> Reply:
    # The upload stays.
    context.account.remove(context.indexed_asset(*request.params).indexed_asset_id)
    return Reply(b"", 204)


# Legacy indexing tasks: how each indexed asset came into its index.


@indexes("twelvelabs.tasks.list", "GET", "/tasks")
def _tasks(context: Context, request: Request) -> Reply:
    index_id = request.query.get("index_id")
    assets = (one for one in context.account.indexed_assets.values() if index_id in {None, one.index_id})
    return listed(context, request, sorted_by_time(request, assets), _show_task)


@indexes("twelvelabs.tasks.get", "GET", "/tasks/{task_id}")
def _task(context: Context, request: Request) -> Reply:
    task_id = request.params[0]
    assets = (one for one in context.account.indexed_assets.values() if _task_id(one) == task_id)
    return json_reply(_show_task(context, context.require(next(assets, None), "tasks", task_id, declared=400)))


def _show_task(context: Context, asset: IndexedAsset) -> dict[str, Any]:
    of_file = asset.system_metadata
    return {
        "_id": _task_id(asset),
        "video_id": asset.indexed_asset_id,
        "index_id": asset.index_id,
        "status": asset.status,
        "created_at": context.time(asset.created_at),
        "updated_at": context.time(asset.updated_at),
        context.dialect.system_metadata: {
            name: of_file[name] for name in ("duration", "filename", "height", "width") if name in of_file
        },
    }


def _task_id(asset: IndexedAsset) -> str:
    return object_id("task", asset.indexed_asset_id)
