"""The id of the run that is under way, the same in logs, in books and in Dagster; and who runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final
from uuid import uuid4

_RUN_ID: Final = ContextVar("vectorferry_run_id", default="")

_STARTER: Final = ContextVar("vectorferry_starter", default="python")


def current_run_id() -> str:
    """That of the run in this thread or task; empty outside of one."""
    return _RUN_ID.get()


@contextmanager
def run_named(run_id: str | None) -> Iterator[str]:
    """A run for the length of a block, under the id that somebody has given it, or else under a new one."""
    named = run_id or str(uuid4())
    token = _RUN_ID.set(named)
    try:
        yield named
    finally:
        _RUN_ID.reset(token)


def current_starter() -> str:
    """Who runs what is run here: ``cli``, or ``python`` where nobody has said so."""
    return _STARTER.get()


@contextmanager
def started_by(starter: str) -> Iterator[None]:
    """Say who runs what is run in a block."""
    token = _STARTER.set(starter)
    try:
        yield
    finally:
        _STARTER.reset(token)
