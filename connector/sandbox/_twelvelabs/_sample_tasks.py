"""The described embedding tasks. Their times follow the clock, for the lists end after seven days."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from vectorferry.connector.sandbox._twelvelabs._filming import Film, Model
from vectorferry.connector.sandbox._twelvelabs._reels import films
from vectorferry.connector.sandbox._twelvelabs._things import EmbedTask, Segment, object_id
from vectorferry.connector.sandbox._twelvelabs._times import now

__all__ = ["described_tasks"]

_MODEL: Final = Model("marengo3.0", 512)
_DAYS: Final = (1, 2, 3, 5, 0, 4, 10)
_STATES: Final = {4: "processing", 5: "failed"}
_FAILED: Final = "The embedding task failed. Please try again later."
_WHOLE: Final = {"v1": "video", "v2": "asset"}


def described_tasks() -> Iterator[EmbedTask]:
    """Seven of each version: the fifth is unfinished, the sixth failed, and the last is ten days old."""
    reel = films(_MODEL)
    seen = [made for made in reel if made.kind == "video"]
    heard = [made for made in reel if made.kind == "audio"]
    for number in range(len(_DAYS)):
        yield _task("v1", number, seen[number])
        yield _task("v2", number, heard[0] if number == 1 else seen[len(_DAYS) + number])


def _task(version: str, number: int, made: Film) -> EmbedTask:
    midnight = now().replace(hour=0, minute=0, second=0, microsecond=0)
    created = midnight - timedelta(days=_DAYS[number]) + timedelta(minutes=number)
    status = _STATES.get(number, "ready")
    segments = (*made.segments, *_whole(made, _WHOLE[version])) if status == "ready" else ()
    return EmbedTask(
        object_id("described task", version, number),
        version,
        _MODEL.name,
        created,
        created + timedelta(seconds=40),
        made.url,
        made.system_metadata["duration"],
        tuple(dict.fromkeys(one.option for one in made.segments)),
        segments,
        status,
        made.kind,
        _FAILED if status == "failed" else "",
    )


def _whole(made: Film, scope: str) -> Iterator[Segment]:
    for option in dict.fromkeys(one.option for one in made.segments):
        first = next(one for one in made.segments if one.option == option)
        yield Segment(0, made.system_metadata["duration"], option, first.vector, scope)
