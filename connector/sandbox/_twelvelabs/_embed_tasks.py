"""``/embed/tasks``: files that were embedded through the first version of those calls."""

from __future__ import annotations

from typing import Any

from vectorferry.connector.sandbox._http import Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._twelvelabs._context import Context
from vectorferry.connector.sandbox._twelvelabs._forms import read_form, required
from vectorferry.connector.sandbox._twelvelabs._imagined import LENGTH, SCENES, imagined
from vectorferry.connector.sandbox._twelvelabs._query import values
from vectorferry.connector.sandbox._twelvelabs._showing import show_segment
from vectorferry.connector.sandbox._twelvelabs._states import UPLOADING, looked_at, upcoming
from vectorferry.connector.sandbox._twelvelabs._task_rows import expired, show_task, task_of, task_page
from vectorferry.connector.sandbox._twelvelabs._things import EmbedTask, object_id
from vectorferry.connector.sandbox._twelvelabs._times import now

__all__ = ["EmbedTaskHandlers"]

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
