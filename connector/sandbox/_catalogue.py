"""The described catalogue: about two hundred assets whose ids, times and vectors are always the same."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from vectorferry.connector.sandbox._documented import documented_assets
from vectorferry.connector.sandbox._library import Library, StoredAsset
from vectorferry.connector.sandbox._shots import Clock, Shot, shoot
from vectorferry.connector.sandbox._subjects import LESSONS, NOTES, PODCASTS, PRODUCTS, VIDEOS, Moment

__all__ = ["COLLECTIONS", "described_library", "lesson_shots", "podcast_shots", "product_shots", "video_shots"]

COLLECTIONS = ("quickstart", "product-shots", "lectures", "example")

_LANGUAGES = ("en", "en", "de", "pt")
_BACKDROPS = (
    "on a white background",
    "on a wooden table",
    "in a hand, for scale",
    "from above, with a soft shadow",
    "outdoors in low sun",
    "close up, showing the texture",
)


def described_library() -> Library:
    """Four collections: `quickstart`, `product-shots`, `lectures`, and Mixpeek's own examples in `example`."""
    library = Library()
    for collection in COLLECTIONS:
        library.add_collection(collection)
    for asset in (
        *documented_assets(),
        *_shot(video_shots()),
        *_shot(_notes()),
        *_shot(podcast_shots()),
        *_shot(product_shots()),
        *_shot(lesson_shots()),
    ):
        library.add(asset)
    return library


def _shot(shots: Iterator[Shot]) -> Iterator[StoredAsset]:
    clock = Clock()
    for number, shot in enumerate(shots):
        yield shoot(shot, number, clock)


def video_shots() -> Iterator[Shot]:
    """Every film in every place, as it was and in slow motion."""
    for video in VIDEOS:
        for take, (speed, place) in enumerate(product(("", " in slow motion"), video.places)):
            moments = tuple(one._replace(seen=f"{one.seen},{speed} {place}") for one in _cut(video.moments, take))
            slug = f"{video.slug}-{take + 1}"
            metadata = {"hello": "world", "place": place, "take": take + 1}
            yield Shot("quickstart", slug, "video", video.author, video.tags, _LANGUAGES[take % 4], moments, metadata)


def _notes() -> Iterator[Shot]:
    for number, note in enumerate(NOTES):
        moments = (Moment(note, "", note),)
        yield Shot("quickstart", f"note-{number + 1}", "text", "user", ("note",), "en", moments, {"hello": "world"})


def podcast_shots() -> Iterator[Shot]:
    """Every episode."""
    for number, lines in enumerate(PODCASTS):
        episode = {"hello": "world", "episode": number + 1}
        moments = tuple(Moment("", line) for line in lines)
        yield Shot("quickstart", f"podcast-{number + 1}", "audio", "night desk", ("podcast",), "en", moments, episode)


def product_shots() -> Iterator[Shot]:
    """Every product in front of every backdrop."""
    for item in PRODUCTS:
        for view, backdrop in enumerate(_BACKDROPS):
            moments = (Moment(f"{item.described}, {backdrop}", "", item.written),)
            metadata = {"sku": f"{item.slug.upper()}-{view + 1:02}", "price": 9.5 + len(item.slug) * 3 + view}
            slug = f"{item.slug}-{view + 1}"
            yield Shot("product-shots", slug, "image", item.author, item.tags, "en", moments, metadata)


def lesson_shots() -> Iterator[Shot]:
    """Every lecture as video, sound, handout and slides."""
    for lesson in LESSONS:
        tags = ("lecture", lesson.slug)
        talk = tuple(Moment(f"The lecturer points at a slide: {lesson.title}", point, point) for point in lesson.points)
        told = tuple(Moment("", point) for point in lesson.points)
        title = {"title": lesson.title}
        yield Shot("lectures", f"{lesson.slug}-talk", "video", lesson.author, tags, "en", talk, title)
        yield Shot("lectures", f"{lesson.slug}-podcast", "audio", lesson.author, (*tags, "podcast"), "en", told, title)
        handout = ". ".join(lesson.points)
        yield Shot(
            "lectures", f"{lesson.slug}-handout", "text", lesson.author, tags, "en", (Moment("", "", handout),), title
        )
        for number, point in enumerate(lesson.points[:3]):
            slide = Moment(f"Slide {number + 1} of a lecture, {lesson.title}", "", point)
            yield Shot(
                "lectures", f"{lesson.slug}-slide-{number + 1}", "image", lesson.author, tags, "en", (slide,), title
            )


def _cut(moments: tuple[Moment, ...], take: int) -> tuple[Moment, ...]:
    # Every take drops another moment but never goes below three, and the first take is complete.
    if take == 0 or len(moments) == 3:
        return moments
    dropped = take % len(moments)
    return moments[:dropped] + moments[dropped + 1 :]
