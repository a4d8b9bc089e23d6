"""What TwelveLabs would find in a file: described films, and scenes imagined for what nobody has described."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, pairwise
from posixpath import basename
from typing import Any, Final, NamedTuple

from vectorferry.connector._model._records import DenseVector
from vectorferry.connector.sandbox._catalogue import Shot, lesson_shots, podcast_shots, product_shots, video_shots
from vectorferry.connector.sandbox._embedding import embed_in
from vectorferry.connector.sandbox._subjects import Moment
from vectorferry.connector.sandbox._twelvelabs._account import Segment, Spoken, object_id
from vectorferry.connector.sandbox._vectors import NoiseVector, VectorSource

__all__ = [
    "LENGTH",
    "SCENES",
    "Film",
    "MarengoVector",
    "Model",
    "about",
    "films",
    "imagined",
    "lectures",
    "made_again",
]


@dataclass(frozen=True, slots=True)
class MarengoVector:
    """`take` is 0 for what the model first made of the text; another one is as if it had been trained anew."""

    text: str
    model: str
    dimension: int
    take: int = 0

    def json(self) -> Any:
        return self.dense()

    def dense(self) -> DenseVector | None:
        return embed_in(self.text, f"{self.model}/{self.take}" if self.take else self.model, self.dimension)


def made_again(vector: VectorSource, dimension: int) -> VectorSource:
    """Another vector of the same thing, in this dimension; one that somebody put there stays."""
    match vector:
        case MarengoVector():
            return replace(vector, dimension=dimension, take=vector.take + 1)
        case NoiseVector():
            return NoiseVector(vector.seed + 1_000_003, dimension)
        case _:
            return vector


# What is in a file that nobody has described: scenes that are about its name.


SCENES: Final = 4


LENGTH: Final = 6.0


def about(filename: str) -> str:
    """The words of a file's name."""
    return basename(filename).rpartition(".")[0].replace("-", " ").replace("_", " ")


def imagined(filename: str, options: Sequence[str], model_name: str, dimension: int) -> Iterator[Segment]:
    """Four scenes of six seconds for each option."""
    for option in options:
        for scene in range(SCENES):
            vector = MarengoVector(f"{about(filename)} {option} scene {scene + 1}", model_name, dimension)
            yield Segment(scene * LENGTH, (scene + 1) * LENGTH, option, vector)


# From a described shot to what TwelveLabs would find in the file.


_FILES = {"video": ("mp4", "video/mp4"), "audio": ("mp3", "audio/mpeg")}


_LEAD, _TRAIL = 0.35, 0.25


class Model(NamedTuple):
    """What looks and listens, and at what."""

    name: str
    dimension: int
    options: tuple[str, ...] = ("visual", "audio")


class Film(NamedTuple):
    """A file and what is seen, heard and said in it."""

    asset_id: str
    filename: str
    file_type: str
    url: str
    stream: str | None
    system_metadata: dict[str, Any]
    user_metadata: dict[str, Any]
    segments: tuple[Segment, ...]
    spoken: tuple[Spoken, ...]

    @property
    def kind(self) -> str:
        """``video`` or ``audio``."""
        return self.file_type.partition("/")[0]


def film(shot: Shot, model: Model) -> Film:
    """The file of a shot, with the vectors that a model makes of it."""
    ending, file_type = _FILES[shot.modality]
    filename = f"{shot.slug}.{ending}"
    base = f"https://media.example.com/{shot.collection_id}/{shot.slug}"
    cuts = _cuts(shot)
    return Film(
        object_id("asset", shot.collection_id, shot.slug),
        filename,
        file_type,
        f"{base}.{ending}",
        f"{base}.m3u8" if shot.modality == "video" else None,
        _system_metadata(shot, filename, cuts[-1]),
        {"author": shot.author, "tags": list(shot.tags), "lang": shot.lang, **shot.metadata},
        tuple(_segments(shot, model, cuts)),
        tuple(_spoken(shot, cuts)),
    )


def _cuts(shot: Shot) -> list[float]:
    """Where one moment ends and the next begins: every four to ten seconds."""
    lengths = hashlib.shake_256(shot.slug.encode()).digest(len(shot.moments))
    cuts = [0.0]
    for length in lengths:
        cuts.append(round(cuts[-1] + 4 + length * 6 / 255, 7))
    return cuts


def _system_metadata(shot: Shot, filename: str, duration: float) -> dict[str, Any]:
    known: dict[str, Any] = {"filename": filename, "duration": duration, "size": 20_000 + int(duration * 81_920)}
    seen = {"fps": 29.97, "width": 1280, "height": 720} if shot.modality == "video" else {}
    return {**known, **seen}


def _segments(shot: Shot, model: Model, cuts: list[float]) -> Iterator[Segment]:
    for option, describe in _DESCRIBED.items():
        for (start, end), moment in zip(pairwise(cuts), shot.moments, strict=True):
            text = describe(moment)
            if text and _has(shot, model, option):
                if option == "transcription":
                    start, end = _speech(start, end)  # noqa: PLW2901 - words begin and end inside the scene
                yield Segment(start, end, option, MarengoVector(text, model.name, model.dimension))


def _has(shot: Shot, model: Model, option: str) -> bool:
    # Spoken words have vectors of their own since 3.0.
    if option == "transcription":
        return model.name != "marengo2.7" and "audio" in model.options
    return option in model.options and (option != "visual" or shot.modality == "video")


def _spoken(shot: Shot, cuts: list[float]) -> Iterator[Spoken]:
    for span, moment in zip(pairwise(cuts), shot.moments, strict=True):
        if moment.said:
            yield Spoken(*_speech(*span), moment.said)


def _speech(start: float, end: float) -> tuple[float, float]:
    return round(start + _LEAD, 7), round(end - _TRAIL, 7)


def _seen(moment: Moment) -> str:
    return f"{moment.seen} {moment.written}".strip()


def _heard(moment: Moment) -> str:
    # Sound has the mood of what is said and none of what is only seen.
    return f"{moment.said} {' '.join(moment.emotions)}".strip() if moment.said else ""


def _said(moment: Moment) -> str:
    return moment.said


_DESCRIBED = {"visual": _seen, "audio": _heard, "transcription": _said}


# The described films, made once for each model: a sandbox is started far more often than they change.


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
