"""``/embed-v2``: the second version of those calls, with names of its own for everything."""

from __future__ import annotations

from typing import Any

from vectorferry.connector.sandbox._embedding import embed_in
from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._twelvelabs._context import Context
from vectorferry.connector.sandbox._twelvelabs._forms import json_body
from vectorferry.connector.sandbox._twelvelabs._imagined import LENGTH, SCENES, imagined
from vectorferry.connector.sandbox._twelvelabs._states import UPLOADING, looked_at, upcoming
from vectorferry.connector.sandbox._twelvelabs._task_rows import expired, task_of, task_page
from vectorferry.connector.sandbox._twelvelabs._things import EmbedTask, Segment, object_id
from vectorferry.connector.sandbox._twelvelabs._times import now

__all__ = ["EmbedV2Handlers"]

_PATH = "/embed-v2/tasks"
_OPTIONS = {"video": ("visual", "audio", "transcription"), "audio": ("audio", "transcription")}
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
            Route("twelvelabs.embed_v2_tasks.list", "GET", _PATH, self.page),
            Route("twelvelabs.embed_v2_tasks.create", "POST", _PATH, self.create),
            Route("twelvelabs.embed_v2_tasks.get", "GET", f"{_PATH}/{{task_id}}", self.get),
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
            "metadata": _metadata(task),
        }
        return {**shown, "error": {"message": error}} if error else shown

    def _submitted(self, body: dict[str, Any]) -> EmbedTask:
        kind = str(body.get("input_type"))
        if kind not in _OPTIONS:
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
            _OPTIONS[kind],
            tuple(imagined(url, _OPTIONS[kind], _model(body), _dimension(body))),
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


def _metadata(task: EmbedTask) -> dict[str, Any]:
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
