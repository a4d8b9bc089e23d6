"""``/embed/tasks`` and ``/embed-v2``: files that were embedded without an index, in both versions of those calls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from vectorferry.connector.sandbox._http import Handlers, RefusedError, Reply, Request, json_reply
from vectorferry.connector.sandbox._twelvelabs._account import EmbedTask, Segment, now, object_id
from vectorferry.connector.sandbox._twelvelabs._indexes import show_segment
from vectorferry.connector.sandbox._twelvelabs._requests import (
    UPLOADING,
    Context,
    invalid,
    json_body,
    listed,
    looked_at,
    values,
)
from vectorferry.connector.sandbox._twelvelabs._sample import LENGTH, SCENES, imagined
from vectorferry.connector.sandbox._vectors import embed_in

embedding: Handlers[Context] = Handlers()
_KEPT = timedelta(days=7)
_GONE = "The embedding result is no longer available and cannot be retrieved."


@embedding("twelvelabs.embed_tasks.list", "GET", "/embed/tasks")
def _tasks(context: Context, request: Request) -> Reply:
    return _page(context, request, "v1")


@embedding("twelvelabs.embed_v2_tasks.list", "GET", "/embed-v2/tasks")
def _v2_tasks(context: Context, request: Request) -> Reply:
    return _page(context, request, "v2")


def _page(context: Context, request: Request, version: str) -> Reply:
    """One page of tasks, newest first; without dates only those of the last seven days."""
    states = values(request, "status")
    tasks = [
        one
        for one in context.account.embed_tasks.values()
        if (one.version == version or context.dialect.shared_tasks)
        and (not states or one.status in states)
        and _in_window(request, one.created_at)
    ]
    return listed(context, request, sorted(tasks, key=lambda one: one.created_at, reverse=True), _show)


def _in_window(request: Request, created_at: datetime) -> bool:
    bounds = {name: _moment(name, request.query[name]) for name in ("started_at", "ended_at") if name in request.query}
    first = bounds.get("started_at", created_at if bounds else now() - _KEPT)
    return first <= created_at <= bounds.get("ended_at", created_at)


def _moment(name: str, text: str) -> datetime:
    """A moment or a day of the query; raises a `RefusedError` for anything else."""
    try:
        when = datetime.fromisoformat(text)
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (OverflowError, ValueError):
        raise invalid(name, "It must be a date and time in RFC 3339.") from None


def _task_of(context: Context, request: Request, version: str, declared: int) -> EmbedTask:
    task_id = request.params[0]
    task = context.account.embed_tasks.get(task_id)
    listed_here = task if task and (task.version == version or context.dialect.shared_tasks) else None
    return context.require(listed_here, "embedding tasks", task_id, declared=declared)


def _expired(task: EmbedTask) -> bool:
    return task.created_at < now() - _KEPT


def _show(context: Context, task: EmbedTask) -> dict[str, Any]:
    """A task without its vectors, which is the same in both lists."""
    metadata: dict[str, Any] = {"input_url": task.url}
    if task.kind == "video":
        metadata |= {
            "video_clip_length": 6,
            "video_embedding_scope": task.scopes,
            "video_embedding_option": list(task.options),
            "duration": task.duration,
        }
    return {
        "_id": task.task_id,
        "model_name": task.model_name,
        "status": task.status,
        "created_at": context.time(task.created_at),
        "updated_at": context.time(task.updated_at),
        f"{task.kind}_embedding": {"metadata": metadata},
    }


# Version 1: `float`, and offsets.


@embedding("twelvelabs.embed_tasks.get", "GET", "/embed/tasks/{task_id}")
def _task(context: Context, request: Request) -> Reply:
    # With the vectors of every option, unless some are named.
    task = _task_of(context, request, "v1", 400)
    shown = _show(context, task)
    if task.status == "ready" and not _expired(task):
        options = values(request, "embedding_option")
        segments = [show_segment(one) for one in task.segments if not options or one.option in options]
        shown[f"{task.kind}_embedding"]["segments"] = segments
    looked_at(task)
    return json_reply(shown)


@embedding("twelvelabs.embed_tasks.status", "GET", "/embed/tasks/{task_id}/status")
def _status(context: Context, request: Request) -> Reply:
    # It moves on after each look.
    task = _task_of(context, request, "v1", 400)
    shown = {name: value for name, value in _show(context, task).items() if not name.endswith("_at")}
    looked_at(task)
    return json_reply(shown)


# Version 2, with names of its own for everything, and embedding at once.

_OPTIONS_V2 = {"video": ("visual", "audio", "transcription"), "audio": ("audio", "transcription")}
_OF_MEDIA = ("embedding_option", "embedding_scope", "start_sec", "end_sec")


@embedding("twelvelabs.embed_v2_tasks.get", "GET", "/embed-v2/tasks/{task_id}")
def _v2_task(context: Context, request: Request) -> Reply:
    # With all its vectors, in no order; it moves on after each look.
    task = _task_of(context, request, "v2", 404)
    gone = _expired(task)
    error, ready = (_GONE if gone else task.error), task.status == "ready" and not gone
    shown = {
        "_id": task.task_id,
        "status": "failed" if gone else task.status,
        "created_at": context.time(task.created_at),
        "updated_at": context.time(task.updated_at),
        "data": [_row(one) for one in reversed(task.segments)] if ready else None,
        "metadata": {
            "input_type": task.kind,
            "input_url": task.url,
            "embedding_scopes": task.scopes,
            "embedding_options": list(task.options),
            "duration": task.duration,
        },
    }
    looked_at(task)
    return json_reply({**shown, "error": {"message": error}} if error else shown)


def _row(segment: Segment) -> dict[str, Any]:
    return {
        "embedding": segment.vector.json(),
        "embedding_option": segment.option,
        "embedding_scope": segment.scope,
        "start_sec": segment.start,
        "end_sec": segment.end,
    }


@embedding("twelvelabs.embed_v2.create", "POST", "/embed-v2")
def _embed(_context: Context, request: Request) -> Reply:
    # The vector of a text.
    body = json_body(request)
    text = body.get("text")
    words = text.get("input_text") if isinstance(text, dict) else None
    if body.get("input_type") != "text" or not isinstance(words, str):
        raise _refused("Only the input_type text, with text.input_text, is embedded at once here.")
    vector = embed_in(words, _model(body), _dimension(body))
    return json_reply({"data": [{"embedding": vector, **dict.fromkeys(_OF_MEDIA)}]})


@embedding("twelvelabs.embed_v2_tasks.create", "POST", "/embed-v2/tasks")
def _create(context: Context, request: Request) -> Reply:
    # Nothing is ever fetched.
    body = json_body(request)
    kind = str(body.get("input_type"))
    if kind not in _OPTIONS_V2:
        raise _refused("input_type must be video or audio.")
    created_at, url, options = now(), _source(body.get(kind)), _OPTIONS_V2[kind]
    task = EmbedTask(
        object_id("embed-v2 task", len(context.account.embed_tasks), url),
        "v2",
        _model(body),
        created_at,
        created_at,
        url,
        SCENES * LENGTH,
        options,
        tuple(imagined(url, options, _model(body), _dimension(body))),
        UPLOADING[0],
        kind,
        upcoming=UPLOADING[1:],
    )
    context.account.embed_tasks[task.task_id] = task
    reply = json_reply({"_id": task.task_id, "status": task.status, "data": None}, 202)
    reply.headers = {"Location": f"{request.origin}{request.path}/{task.task_id}"}
    return reply


def _model(body: dict[str, Any]) -> str:
    model_name = str(body.get("model_name"))
    if model_name not in {"marengo3.0", "marengo3.5"}:
        raise _refused("model_name must be marengo3.0 or marengo3.5.")
    return model_name


def _dimension(body: dict[str, Any]) -> int:
    dimension = body.get("embedding_dimension")
    return dimension if isinstance(dimension, int) and 0 < dimension <= 4096 else 512


def _source(media: object) -> str:
    source = media.get("media_source") if isinstance(media, dict) else None
    address = (source.get("url") or source.get("asset_id")) if isinstance(source, dict) else None
    if not isinstance(address, str):
        raise _refused("media_source must have a url or an asset_id.")
    return address


def _refused(problem: str) -> RefusedError:
    return RefusedError(400, problem, kind="VALIDATION_ERROR")
