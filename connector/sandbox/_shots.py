"""The described media of ``data/catalogue.json``: what was filmed, photographed, recorded or written, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

_LANGUAGES = ("en", "en", "de", "pt")


class Moment(NamedTuple):
    """Ten seconds of a video: the scene, what is said, what is written on screen, and the mood."""

    scene: str = ""
    speech: str = ""
    caption: str = ""
    emotions: tuple[str, ...] = ()


class Shot(NamedTuple):
    """One asset to be."""

    collection_id: str
    slug: str
    modality: str
    author: str
    tags: tuple[str, ...]
    moments: tuple[Moment, ...]
    metadata: Mapping[str, Any]
    lang: str = "en"


class FilledLate:
    """Something that is filled when one of its attributes is first looked at: most sandboxes are asked about one
    service, and to describe all media for the others takes longer than what they are asked.

    Without `fill` it is there at once, with nothing in it.
    """

    def __init__(self, lock: RLock, fill: Callable[[Any], None] | None) -> None:
        self.lock = lock
        self._fill = fill
        if fill is None:
            self.begin()

    def begin(self) -> None:
        """Set every attribute to what it is before anything is in."""
        raise NotImplementedError

    if not TYPE_CHECKING:  # to which every name would be an attribute

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            with self.lock:
                if fill := self._fill:
                    self._fill = None
                    self.begin()
                    fill(self)
            return object.__getattribute__(self, name)


@cache
def catalogue() -> dict[str, Any]:
    """Everything in the data file."""
    content: dict[str, Any] = orjson.loads((Path(__file__).parent / "data" / "catalogue.json").read_bytes())
    return content


def _cached(shots: Callable[[], Iterator[Shot]]) -> Callable[[], tuple[Shot, ...]]:
    # A sandbox is started far more often than the media change.
    return cache(lambda: tuple(shots()))


@_cached
def video_shots() -> Iterator[Shot]:
    """Every film in every place, as it was and in slow motion."""
    for video in catalogue()["videos"]:
        moments = tuple(Moment(**{**one, "emotions": tuple(one.get("emotions", ()))}) for one in video["moments"])
        for take, (speed, place) in enumerate(product(("", " in slow motion"), video["places"])):
            cut = tuple(one._replace(scene=f"{one.scene},{speed} {place}") for one in _cut(moments, take))
            metadata = {"hello": "world", "place": place, "take": take + 1}
            slug, author, tags = f"{video['slug']}-{take + 1}", video["author"], tuple(video["tags"])
            yield Shot("quickstart", slug, "video", author, tags, cut, metadata, _LANGUAGES[take % 4])


@_cached
def note_shots() -> Iterator[Shot]:
    """Every note."""
    for number, note in enumerate(catalogue()["notes"], 1):
        moments = (Moment(scene=note, caption=note),)
        yield Shot("quickstart", f"note-{number}", "text", "user", ("note",), moments, {"hello": "world"})


@_cached
def podcast_shots() -> Iterator[Shot]:
    """Every episode."""
    for number, lines in enumerate(catalogue()["podcasts"], 1):
        episode = {"hello": "world", "episode": number}
        moments = tuple(Moment(speech=line) for line in lines)
        yield Shot("quickstart", f"podcast-{number}", "audio", "night desk", ("podcast",), moments, episode)


@_cached
def product_shots() -> Iterator[Shot]:
    """Every product in front of every backdrop."""
    for item in catalogue()["products"]:
        slug, tags = item["slug"], tuple(item["tags"])
        for view, backdrop in enumerate(catalogue()["backdrops"]):
            moments = (Moment(f"{item['described']}, {backdrop}", caption=item.get("caption", "")),)
            metadata = {"sku": f"{slug.upper()}-{view + 1:02}", "price": 9.5 + len(slug) * 3 + view}
            yield Shot("product-shots", f"{slug}-{view + 1}", "image", item["author"], tags, moments, metadata)


@_cached
def lesson_shots() -> Iterator[Shot]:
    """Every lecture as video, sound, handout and slides."""
    for lesson in catalogue()["lessons"]:
        title, points = lesson["title"], lesson["points"]
        talk = (Moment(f"The lecturer points at a slide: {title}", point, point) for point in points)
        yield _lesson_shot(lesson, "talk", "video", *talk)
        yield _lesson_shot(lesson, "podcast", "audio", *(Moment(speech=point) for point in points))
        yield _lesson_shot(lesson, "handout", "text", Moment(caption=". ".join(points)))
        for number, point in enumerate(points[:3], 1):
            slide = Moment(f"Slide {number} of a lecture, {title}", caption=point)
            yield _lesson_shot(lesson, f"slide-{number}", "image", slide)


def _lesson_shot(lesson: Mapping[str, Any], kind: str, modality: str, *moments: Moment) -> Shot:
    tags = ("lecture", lesson["slug"], *(("podcast",) if kind == "podcast" else ()))
    metadata = {"title": lesson["title"]}
    return Shot("lectures", f"{lesson['slug']}-{kind}", modality, lesson["author"], tags, moments, metadata)


def _cut(moments: tuple[Moment, ...], take: int) -> tuple[Moment, ...]:
    # Every take drops another moment but never goes below three, and the first take is complete.
    if take == 0 or len(moments) == 3:
        return moments
    dropped = take % len(moments)
    return moments[:dropped] + moments[dropped + 1 :]
