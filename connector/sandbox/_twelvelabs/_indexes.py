"""``/indexes`` with their assets, under the new name and the old one, and ``/tasks``: how each came into its index."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from random import Random
from typing import Any
from urllib.parse import parse_qsl

import orjson

from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._twelvelabs._account import Index, IndexedAsset, Segment, Spoken, Upload, object_id
from vectorferry.connector.sandbox._twelvelabs._dialect import invalid, later, now
from vectorferry.connector.sandbox._twelvelabs._media import LENGTH, about, imagined
from vectorferry.connector.sandbox._twelvelabs._requests import (
    INDEXING,
    Context,
    by_either_time,
    flag,
    json_body,
    listed,
    looked_at,
    object_in,
    on_or_after,
    upcoming,
    values,
    within,
)

__all__ = [
    "IndexHandlers",
    "IndexedAssetHandlers",
    "SubmittingHandlers",
    "TaskHandlers",
    "VideoHandlers",
    "entries_of",
    "print_embedding",
    "show_segment",
    "words_of",
]


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
    options = _listed_options(context, index, request)
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


def _listed_options(context: Context, index: Index, request: Request) -> tuple[str, ...]:
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


# ``/indexes``.


class IndexHandlers:
    """What indexes there are, with their models and how much they hold."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """Both routes."""
        return [
            Route("twelvelabs.indexes.list", "GET", "/indexes", self.page),
            Route("twelvelabs.indexes.get", "GET", "/indexes/{index_id}", self.get),
        ]

    def page(self, request: Request) -> Reply:
        """One page of indexes."""
        context = self._context
        chosen = (index for index in context.account.indexes.values() if self._wanted(request, index))
        rows = by_either_time(request, chosen)
        return listed(request, context.dialect, rows, self._shown)

    def get(self, request: Request) -> Reply:
        """One index."""
        return json_reply(self._shown(self._context.index(request.params[0])))

    def _wanted(self, request: Request, index: Index) -> bool:
        rule = self._context.dialect.date_filter
        family = request.query.get("model_family", "")
        return (
            request.query.get("index_name", index.name) == index.name
            and set(values(request, "model_options")) <= set(index.options)
            and index.model_name.startswith(family)
            and on_or_after(request, "created_at", index.created_at, rule)
            and on_or_after(request, "updated_at", index.updated_at, rule)
        )

    def _shown(self, index: Index) -> dict[str, Any]:
        context = self._context
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


# ``/indexes/{index_id}/indexed-assets``, and an upload's places in indexes.


_PATH = "/indexes/{index_id}/indexed-assets"


_NUMBERS = ("duration", "fps", "width", "height", "size")


_KNOWN = {"page", "page_limit", "sort_by", "sort_option", "status", "filename", "created_at", "updated_at"}


class IndexedAssetHandlers:
    """Uploads in an index."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """None, for an account that knows only the legacy videos."""
        if not self._context.dialect.indexed_assets:
            return []
        return [
            Route("twelvelabs.indexed_assets.list", "GET", _PATH, self.page),
            Route("twelvelabs.indexed_assets.get", "GET", f"{_PATH}/{{indexed_asset_id}}", self.get),
            Route("twelvelabs.assets.indexed", "GET", "/assets/{asset_id}/indexed-assets", self.by_upload),
        ]

    def page(self, request: Request) -> Reply:
        """One page of an index."""
        index = self._context.index(request.params[0])
        rows = chosen(self._context, request, index.assets.values())
        wanted = set(values(request, "status"))
        rows = [row for row in rows if not wanted or row.status in wanted]
        return listed(request, self._context.dialect, rows, lambda row: show_row(self._context, row))

    def get(self, request: Request) -> Reply:
        """One indexed asset with the vectors that are asked for; a submitted one moves on after each look."""
        index_id, indexed_asset_id = request.params
        asset = self._context.indexed_asset(index_id, indexed_asset_id)
        reply = json_reply(show_asset(self._context, self._context.index(index_id), asset, request))
        looked_at(asset)
        return reply

    def by_upload(self, request: Request) -> Reply:
        """Where an upload is indexed."""
        upload = self._context.upload(request.params[0])
        names = self._context.account.indexes
        return listed(
            request,
            self._context.dialect,
            self._context.account.of_upload(upload.asset_id),
            lambda row: {"_id": row.indexed_asset_id, "index": {"_id": row.index_id, "name": names[row.index_id].name}},
        )


def chosen(context: Context, request: Request, assets: Collection[IndexedAsset]) -> list[IndexedAsset]:
    """Those that every filter but `status` lets through, in the order that is asked for."""
    metadata = _metadata(request)
    rows = assets if not request.raw_query else [one for one in assets if _wanted(context, request, one, metadata)]
    return by_either_time(request, rows)


def _wanted(context: Context, request: Request, asset: IndexedAsset, metadata: dict[str, str]) -> bool:
    dialect = context.dialect
    of_file = asset.system_metadata
    updated = asset.updated_at if dialect.updated_at_filter == "every" or asset.edited else None
    return (
        request.query.get("filename", of_file.get("filename")) == of_file.get("filename")
        and all(within(request, name, of_file.get(name)) for name in _NUMBERS)
        and all(_plain(asset.user_metadata.get(name)) == value for name, value in metadata.items())
        and on_or_after(request, "created_at", asset.created_at, dialect.date_filter)
        and on_or_after(request, "updated_at", updated, dialect.date_filter)
    )


def _plain(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _metadata(request: Request) -> dict[str, str]:
    """The user's own fields, which are asked for as ``user_metadata[name]`` or under their plain names."""
    found = {}
    for name, value in parse_qsl(request.raw_query):
        plain = name.removeprefix("user_metadata[").removesuffix("]") if name.startswith("user_metadata[") else name
        if plain != name or (name not in _KNOWN and name.split("[")[0] not in _NUMBERS):
            found[plain] = value
    return found


# ``/indexes/{index_id}/videos``: the same things under their old name, without a status.


_VIDEOS = "/indexes/{index_id}/videos"


class VideoHandlers:
    """Legacy videos."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """Both routes."""
        return [
            Route("twelvelabs.videos.list", "GET", _VIDEOS, self.page),
            Route("twelvelabs.videos.get", "GET", f"{_VIDEOS}/{{video_id}}", self.get),
        ]

    def page(self, request: Request) -> Reply:
        """One page of an index."""
        rows = chosen(self._context, request, self._context.index(request.params[0]).assets.values())
        rows = [row for row in rows if self._shows(row)]
        return listed(request, self._context.dialect, rows, lambda row: _nameless(show_row(self._context, row)))

    def get(self, request: Request) -> Reply:
        """One video, with the vectors that are asked for."""
        index = self._context.index(request.params[0])
        video = index.assets.get(request.params[1])
        shown = video if video is not None and self._shows(video) else None
        found = self._context.found(shown, "videos", request.params[1])
        return json_reply(_nameless(show_asset(self._context, index, found, request)))

    def _shows(self, video: IndexedAsset) -> bool:
        return self._context.dialect.videos == "every" or video.status == "ready"


def _nameless(shown: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in shown.items() if name not in {"status", "asset_id"}}


# Putting uploads into indexes, changing their metadata there, taking them out.


_ASSET = f"{_PATH}/{{indexed_asset_id}}"


class SubmittingHandlers:
    """The writes under ``/indexes/{index_id}/indexed-assets``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """None, for an account that knows only the legacy videos."""
        if not self._context.dialect.indexed_assets:
            return []
        return [
            Route("twelvelabs.indexed_assets.create", "POST", _PATH, self.create),
            Route("twelvelabs.indexed_assets.update", "PATCH", _ASSET, self.update),
            Route("twelvelabs.indexed_assets.delete", "DELETE", _ASSET, self.delete),
        ]

    def create(self, request: Request) -> Reply:
        """Index an upload that is ready; what is in it is made up from its name."""
        index = self._context.index(request.params[0])
        body = json_body(request)
        if not isinstance(body.get("asset_id"), str):
            raise RefusedError(400, "The asset_id parameter is required.", kind="parameter_not_provided")
        upload = self._context.upload(body["asset_id"])
        if upload.status != "ready":
            raise invalid("asset_id", f"The asset is not ready: its status is {upload.status}.")
        asset = self._indexed(index, upload, streamed=body.get("enable_video_stream", True) is True)
        asset.user_metadata = {**upload.user_metadata, **object_in(body, "user_metadata")}
        self._context.account.add(asset)
        index.updated_at = later(index.updated_at)
        reply = json_reply({"_id": asset.indexed_asset_id, "asset_id": upload.asset_id}, 202)
        reply.headers = {"Location": f"{request.origin}{request.path}/{asset.indexed_asset_id}"}
        return reply

    def update(self, request: Request) -> Reply:
        """Change some of the user's metadata; null deletes a value."""
        asset = self._asset(request)
        asset.edit_metadata(object_in(json_body(request), "user_metadata"))
        if self._context.dialect.edits_move_updated_at:
            asset.updated_at = later(asset.updated_at)
        return Reply(b"", 204)

    def delete(self, request: Request) -> Reply:
        """Take it out of the index; the upload stays."""
        self._context.account.remove(self._asset(request).indexed_asset_id)
        return Reply(b"", 204)

    def _asset(self, request: Request) -> IndexedAsset:
        index_id, indexed_asset_id = request.params
        return self._context.indexed_asset(index_id, indexed_asset_id)

    def _indexed(self, index: Index, upload: Upload, *, streamed: bool) -> IndexedAsset:
        made = now()
        account = self._context.account
        return IndexedAsset(
            object_id("submitted", index.index_id, upload.asset_id, len(account.of_upload(upload.asset_id))),
            index.index_id,
            upload.asset_id,
            made,
            made,
            INDEXING[0],
            system_metadata={
                "filename": upload.filename,
                "duration": upload.duration,
                **({"fps": 25, "width": 1280, "height": 720} if upload.file_type.startswith("video/") else {}),
                "size": upload.size,
            },
            segments=tuple(imagined(upload.filename, _options_for(index, upload), index.model_name, index.dimension)),
            spoken=upload.spoken or (Spoken(0.5, LENGTH, f"This is {about(upload.filename)}."),),
            stream=f"https://media.example.com/submitted/{upload.asset_id}.m3u8" if streamed else None,
            upcoming=upcoming(INDEXING, self._context.dialect.polls_per_state),
        )


def _options_for(index: Index, upload: Upload) -> list[str]:
    return [one for one in index.options if one == "audio" or upload.file_type.startswith("video/")]


# ``/tasks``: how each indexed asset came into its index.


_SHOWN = ("duration", "filename", "height", "width")


class TaskHandlers:
    """Legacy indexing tasks."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """Both routes."""
        return [
            Route("twelvelabs.tasks.list", "GET", "/tasks", self.page),
            Route("twelvelabs.tasks.get", "GET", "/tasks/{task_id}", self.get),
        ]

    def page(self, request: Request) -> Reply:
        """One page of tasks."""
        assets = self._context.account.indexed_assets.values()
        rows = by_either_time(request, (one for one in assets if self._wanted(request, one)))
        return listed(request, self._context.dialect, rows, self._shown)

    def get(self, request: Request) -> Reply:
        """One task."""
        assets = self._context.account.indexed_assets.values()
        found = next((one for one in assets if _task_id(one) == request.params[0]), None)
        return json_reply(self._shown(self._context.found(found, "tasks", request.params[0], declared=400)))

    def _wanted(self, request: Request, asset: IndexedAsset) -> bool:
        rule = self._context.dialect.date_filter
        states, of_file = values(request, "status"), asset.system_metadata
        return (
            request.query.get("index_id", asset.index_id) == asset.index_id
            and (not states or asset.status in states)
            and request.query.get("filename", of_file.get("filename")) == of_file.get("filename")
            and all(within(request, name, of_file.get(name)) for name in ("duration", "width", "height"))
            and on_or_after(request, "created_at", asset.created_at, rule)
            and on_or_after(request, "updated_at", asset.updated_at, rule)
        )

    def _shown(self, asset: IndexedAsset) -> dict[str, Any]:
        context = self._context
        return {
            "_id": _task_id(asset),
            "video_id": asset.indexed_asset_id,
            "index_id": asset.index_id,
            "status": asset.status,
            "created_at": context.time(asset.created_at),
            "updated_at": context.time(asset.updated_at),
            context.dialect.system_metadata: {
                name: asset.system_metadata[name] for name in _SHOWN if name in asset.system_metadata
            },
        }


def _task_id(asset: IndexedAsset) -> str:
    return object_id("task", asset.indexed_asset_id)
