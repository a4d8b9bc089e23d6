"""``/embed/tasks`` and ``/embed-v2``: files that were embedded without an index, in both versions of those calls."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from vectorferry.connector.sandbox._embedding import embed_in
from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._twelvelabs._account import EmbedTask, Segment, object_id
from vectorferry.connector.sandbox._twelvelabs._dialect import moment, now
from vectorferry.connector.sandbox._twelvelabs._indexes import show_segment
from vectorferry.connector.sandbox._twelvelabs._media import LENGTH, SCENES, imagined
from vectorferry.connector.sandbox._twelvelabs._requests import (
    UPLOADING,
    Context,
    json_body,
    listed,
    looked_at,
    read_form,
    required,
    upcoming,
    values,
)

__all__ = ["EmbedTaskHandlers", "EmbedV2Handlers"]


_KEPT = timedelta(days=7)


def task_page(context: Context, request: Request, version: str) -> Reply:
    """One page of tasks, newest first; without dates only those of the last seven days."""
    tasks = [one for one in context.account.embed_tasks.values() if _wanted(context, request, one, version)]
    rows = sorted(tasks, key=lambda one: one.created_at, reverse=True)
    return listed(request, context.dialect, rows, lambda row: show_task(context, row))


def task_of(context: Context, task_id: str, version: str, declared: int) -> EmbedTask:
    """The task of this id, if it is of this kind."""
    task = context.account.embed_tasks.get(task_id)
    known = task if task and (task.version == version or context.dialect.shared_tasks) else None
    return context.found(known, "embedding tasks", task_id, declared=declared)


def show_task(context: Context, task: EmbedTask) -> dict[str, Any]:
    """A task without its vectors, which is the same in both lists."""
    return {
        "_id": task.task_id,
        "model_name": task.model_name,
        "status": task.status,
        "created_at": context.time(task.created_at),
        "updated_at": context.time(task.updated_at),
        f"{task.kind}_embedding": {"metadata": _metadata(task)},
    }


def expired(context: Context, task: EmbedTask) -> bool:
    """Whether the vectors are gone."""
    return context.dialect.expired_tasks == "gone" and task.created_at < now() - _KEPT


def _metadata(task: EmbedTask) -> dict[str, Any]:
    if task.kind != "video":
        return {"input_url": task.url}
    return {
        "input_url": task.url,
        "video_clip_length": 6,
        "video_embedding_scope": task.scopes,
        "video_embedding_option": list(task.options),
        "duration": task.duration,
    }


def _wanted(context: Context, request: Request, task: EmbedTask, version: str) -> bool:
    states = values(request, "status")
    return (
        (task.version == version or context.dialect.shared_tasks)
        and (not states or task.status in states)
        and _in_window(request, task.created_at)
    )


def _in_window(request: Request, created_at: datetime) -> bool:
    bounds = {name: moment(name, request.query[name]) for name in ("started_at", "ended_at") if name in request.query}
    first = bounds.get("started_at", created_at if bounds else now() - _KEPT)
    return first <= created_at <= bounds.get("ended_at", created_at)


# ``/embed/tasks``: files that were embedded through the first version of those calls.


_PATH = "/embed/tasks"


_OPTIONS = ("visual", "audio", "transcription")


class EmbedTaskHandlers:
    """Tasks of version 1: `float`, and offsets."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """Every route."""
        return [
            Route("twelvelabs.embed_tasks.list", "GET", _PATH, self.page),
            Route("twelvelabs.embed_tasks.create", "POST", _PATH, self.create),
            Route("twelvelabs.embed_tasks.get", "GET", f"{_PATH}/{{task_id}}", self.get),
            Route("twelvelabs.embed_tasks.status", "GET", f"{_PATH}/{{task_id}}/status", self.status),
        ]

    def page(self, request: Request) -> Reply:
        """One page of tasks."""
        return task_page(self._context, request, "v1")

    def create(self, request: Request) -> Reply:
        """Embed a file; nothing is ever fetched."""
        form = read_form(request)
        model_name, url = required(form, "model_name"), required(form, "video_url")
        made, number = now(), len(self._context.account.embed_tasks)
        task = EmbedTask(
            object_id("embed task", number, url),
            "v1",
            model_name,
            made,
            made,
            url,
            SCENES * LENGTH,
            _OPTIONS,
            tuple(imagined(url, _OPTIONS, model_name, 512)),
            UPLOADING[0],
            upcoming=upcoming(UPLOADING, self._context.dialect.polls_per_state),
        )
        self._context.account.embed_tasks[task.task_id] = task
        return json_reply({"_id": task.task_id})

    def status(self, request: Request) -> Reply:
        """How far a task is; it moves on after each look."""
        task = task_of(self._context, request.params[0], "v1", 400)
        shown = show_task(self._context, task)
        looked_at(task)
        return json_reply({name: value for name, value in shown.items() if not name.endswith("_at")})

    def get(self, request: Request) -> Reply:
        """A task with its vectors: of every option, unless some are named."""
        task = task_of(self._context, request.params[0], "v1", 400)
        shown = show_task(self._context, task)
        if task.status == "ready" and not expired(self._context, task):
            shown[f"{task.kind}_embedding"]["segments"] = _segments(task, values(request, "embedding_option"))
        looked_at(task)
        return json_reply(shown)


def _segments(task: EmbedTask, options: list[str]) -> list[dict[str, Any]]:
    return [show_segment(one) for one in task.segments if not options or one.option in options]


# ``/embed-v2``: the second version of those calls, with names of its own for everything.


_PATH_V2 = "/embed-v2/tasks"


_OPTIONS_V2 = {"video": ("visual", "audio", "transcription"), "audio": ("audio", "transcription")}


_OF_MEDIA = ("embedding_option", "embedding_scope", "start_sec", "end_sec")


_DIMENSION = 512


_GONE = "The embedding result is no longer available and cannot be retrieved."


class EmbedV2Handlers:
    """Tasks of version 2, and embedding at once."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """Every route."""
        return [
            Route("twelvelabs.embed_v2.create", "POST", "/embed-v2", self.embed),
            Route("twelvelabs.embed_v2_tasks.list", "GET", _PATH_V2, self.page),
            Route("twelvelabs.embed_v2_tasks.create", "POST", _PATH_V2, self.create),
            Route("twelvelabs.embed_v2_tasks.get", "GET", f"{_PATH_V2}/{{task_id}}", self.get),
        ]

    def embed(self, request: Request) -> Reply:
        """The vector of a text."""
        body = json_body(request)
        text = body.get("text")
        words = text.get("input_text") if isinstance(text, dict) else None
        if body.get("input_type") != "text" or not isinstance(words, str):
            raise _refused("Only the input_type text, with text.input_text, is embedded at once here.")
        vector = embed_in(words, _model(body), _dimension(body))
        return json_reply({"data": [{"embedding": vector, **dict.fromkeys(_OF_MEDIA)}]})

    def page(self, request: Request) -> Reply:
        """One page of tasks, which look the same as in the first version."""
        return task_page(self._context, request, "v2")

    def create(self, request: Request) -> Reply:
        """Embed a file; nothing is ever fetched."""
        task = self._submitted(json_body(request))
        self._context.account.embed_tasks[task.task_id] = task
        reply = json_reply({"_id": task.task_id, "status": task.status, "data": None}, 202)
        reply.headers = {"Location": f"{request.origin}{request.path}/{task.task_id}"}
        return reply

    def get(self, request: Request) -> Reply:
        """A task with all its vectors, in no order; it moves on after each look."""
        task = task_of(self._context, request.params[0], "v2", 404)
        reply = json_reply(self._shown(task))
        looked_at(task)
        return reply

    def _shown(self, task: EmbedTask) -> dict[str, Any]:
        gone = expired(self._context, task)
        error = _GONE if gone else task.error
        ready = task.status == "ready" and not gone
        shown = {
            "_id": task.task_id,
            "status": "failed" if gone else task.status,
            "created_at": self._context.time(task.created_at),
            "updated_at": self._context.time(task.updated_at),
            "data": [_row(one) for one in reversed(task.segments)] if ready else None,
            "metadata": _metadata_v2(task),
        }
        return {**shown, "error": {"message": error}} if error else shown

    def _submitted(self, body: dict[str, Any]) -> EmbedTask:
        kind = str(body.get("input_type"))
        if kind not in _OPTIONS_V2:
            raise _refused("input_type must be video or audio.")
        made, number = now(), len(self._context.account.embed_tasks)
        url = _source(body.get(kind))
        return EmbedTask(
            object_id("embed-v2 task", number, url),
            "v2",
            _model(body),
            made,
            made,
            url,
            SCENES * LENGTH,
            _OPTIONS_V2[kind],
            tuple(imagined(url, _OPTIONS_V2[kind], _model(body), _dimension(body))),
            UPLOADING[0],
            kind,
            upcoming=upcoming(UPLOADING, self._context.dialect.polls_per_state),
        )


def _row(segment: Segment) -> dict[str, Any]:
    return {
        "embedding": segment.vector.json(),
        "embedding_option": segment.option,
        "embedding_scope": segment.scope,
        "start_sec": segment.start,
        "end_sec": segment.end,
    }


def _metadata_v2(task: EmbedTask) -> dict[str, Any]:
    return {
        "input_type": task.kind,
        "input_url": task.url,
        "embedding_scopes": task.scopes,
        "embedding_options": list(task.options),
        "duration": task.duration,
    }


def _model(body: dict[str, Any]) -> str:
    model_name = str(body.get("model_name"))
    if model_name not in {"marengo3.0", "marengo3.5"}:
        raise _refused("model_name must be marengo3.0 or marengo3.5.")
    return model_name


def _dimension(body: dict[str, Any]) -> int:
    asked = body.get("embedding_dimension")
    return asked if isinstance(asked, int) and 0 < asked <= 4096 else _DIMENSION


def _source(media: object) -> str:
    source = media.get("media_source") if isinstance(media, dict) else None
    found = (source.get("url") or source.get("asset_id")) if isinstance(source, dict) else None
    if not isinstance(found, str):
        raise _refused("media_source must have a url or an asset_id.")
    return found


def _refused(problem: str) -> RefusedError:
    return RefusedError(400, problem, kind="VALIDATION_ERROR")
