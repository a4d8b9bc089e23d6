"""What both kinds of embedding tasks have in common: the list, its window of seven days, and how they move on."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from vectorferry.connector.sandbox._http import Reply, Request
from vectorferry.connector.sandbox._twelvelabs._context import Context
from vectorferry.connector.sandbox._twelvelabs._paging import listed
from vectorferry.connector.sandbox._twelvelabs._query import values
from vectorferry.connector.sandbox._twelvelabs._things import EmbedTask
from vectorferry.connector.sandbox._twelvelabs._times import moment, now

__all__ = ["expired", "show_task", "task_of", "task_page"]

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
