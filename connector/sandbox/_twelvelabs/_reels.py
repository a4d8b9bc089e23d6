"""The described films, made once for each model: a sandbox is started far more often than they change."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import chain

from vectorferry.connector.sandbox._catalogue import lesson_shots, podcast_shots, product_shots, video_shots
from vectorferry.connector.sandbox._shots import Shot
from vectorferry.connector.sandbox._twelvelabs._filming import Film, Model, film

__all__ = ["films", "lectures"]


@cache
def films(model: Model) -> tuple[Film, ...]:
    """Films with words, silent ones of products that turn, and podcasts, which are only heard."""
    return tuple(film(shot, model) for shot in chain(video_shots(), _silent(), podcast_shots()))


@cache
def lectures(model: Model) -> tuple[Film, ...]:
    """Every lecture as it was filmed, and as it was recorded."""
    return tuple(film(shot, model) for shot in lesson_shots() if shot.modality in {"video", "audio"})


def _silent() -> Iterator[Shot]:
    for shot in product_shots():
        if shot.slug.endswith("-1"):
            yield shot._replace(modality="video", slug=f"{shot.slug}-turning")
