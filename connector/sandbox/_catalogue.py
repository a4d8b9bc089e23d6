"""The described catalogue: about two hundred assets whose ids, times and vectors are always the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import product
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from vectorferry.connector.sandbox._library import Library, StoredAsset, StoredFeature
from vectorferry.connector.sandbox._subjects import LESSONS, NOTES, PODCASTS, PRODUCTS, VIDEOS, Moment
from vectorferry.connector.sandbox._vectors import PatchedVector, TextVector, VectorSource

__all__ = [
    "Shot",
    "described_library",
    "lesson_shots",
    "podcast_shots",
    "product_shots",
    "video_shots",
]


_NAMESPACE = UUID("0b6f4f3e-8a41-4d0c-9f57-6f2f0f1c2d11")


_FILES = {
    "video": ("mp4", "video/mp4"),
    "image": ("jpg", "image/jpeg"),
    "text": ("txt", "text/plain"),
    "audio": ("mp3", "audio/mpeg"),
}


_INTERVAL = 10


class Shot(NamedTuple):
    """One asset to be."""

    collection_id: str
    slug: str
    modality: str
    author: str
    tags: tuple[str, ...]
    lang: str
    moments: tuple[Moment, ...]
    metadata: Mapping[str, Any]


class Clock:
    """Gives every asset times of its own."""

    def __init__(self) -> None:
        self._now = datetime(2024, 11, 7, 8, 0, 0, 137_000)

    def next(self) -> datetime:
        """Seventeen minutes and a bit after the last one."""
        self._now += timedelta(minutes=17, seconds=4, milliseconds=331)
        return self._now


def shoot(shot: Shot, number: int, clock: Clock) -> StoredAsset:
    """The asset with its features. Of each collection some are unfinished or failed, and have no features."""
    asset_id = str(uuid5(_NAMESPACE, f"{shot.collection_id}/{shot.slug}"))
    created = clock.next()
    status = {31: "PROCESSING", 47: "FAILED"}.get(number % 48 if number >= 24 else 0, "DONE")
    fields = _asset_fields(shot, asset_id, created, status)
    asset = StoredAsset(asset_id, shot.collection_id, fields)
    if status == "DONE":
        asset.features = {feature.feature_id: feature for feature in _features(shot, asset_id, created)}
    return asset


def _asset_fields(shot: Shot, asset_id: str, created: datetime, status: str) -> dict[str, Any]:
    ending, file_type = _FILES[shot.modality]
    digest = hashlib.blake2b(shot.slug.encode(), digest_size=16).digest()
    url = f"https://media.example.com/{shot.collection_id}/{shot.slug}"
    return {
        "asset_id": asset_id,
        "collection_id": shot.collection_id,
        "status": status,
        "url": None if shot.modality == "text" else f"{url}.{ending}",
        "preview_url": f"{url}.preview.jpg" if shot.modality in {"video", "image"} else None,
        "metadata": {"author": shot.author, "tags": list(shot.tags), "lang": shot.lang, **shot.metadata},
        "error": "The file could not be decoded: moov atom not found" if status == "FAILED" else None,
        "modality": shot.modality,
        "task_id": str(uuid5(_NAMESPACE, f"task/{asset_id}")),
        "file_hash": digest.hex(),
        "file_data": {"file_size_bytes": 20_000 + int.from_bytes(digest[:3]), "file_type": file_type},
        "duplicate_of": None,
        "updated_at": _milliseconds(created + timedelta(seconds=1, milliseconds=955)),
        "created_at": _milliseconds(created),
        "score": None,
    }


def _features(shot: Shot, asset_id: str, created: datetime) -> Iterator[StoredFeature]:
    for part, moment in enumerate(shot.moments):
        feature_id = str(uuid5(_NAMESPACE, f"{asset_id}/{part}"))
        fields = {
            "feature_id": feature_id,
            "modality": shot.modality,
            "asset_id": asset_id,
            "collection_id": shot.collection_id,
            "metadata": {"author": shot.author},
            **_content(shot.modality, moment, part),
            "created_at": f"{(created + timedelta(microseconds=580_031 + part)).isoformat()}Z",
        }
        yield StoredFeature(feature_id, asset_id, fields, _vectors(shot.modality, moment))


def _content(modality: str, moment: Moment, part: int) -> dict[str, Any]:
    span = {"start_time": float(part * _INTERVAL), "end_time": float((part + 1) * _INTERVAL)}
    spoken = f"{part * _INTERVAL // 60}:{part * _INTERVAL % 60:02} {moment.said}\n"
    match modality:
        case "video":
            written = f"{moment.written}\n" if moment.written else ""
            seen = {"transcription": spoken, "text": written, "description": moment.seen}
            return {**span, "interval_sec": _INTERVAL, **seen, "json_output": {"emotions": list(moment.emotions)}}
        case "image":
            return {"description": moment.seen, "text": moment.written}
        case "audio":
            return {**span, "interval_sec": _INTERVAL, "transcription": spoken}
        case _:
            return {"text": moment.written}


def _vectors(modality: str, moment: Moment) -> dict[str, VectorSource]:
    everything = " ".join(dict.fromkeys(part for part in moment[:3] if part))
    vectors: dict[str, VectorSource] = {"multimodal-v1": TextVector(everything, "multimodal-v1")}
    if modality == "video":
        vectors["baai-bge-m3"] = TextVector(moment.said, "baai-bge-m3")
    if modality == "text":
        vectors["baai-bge-m3"] = TextVector(moment.written, "baai-bge-m3")
        vectors["splade-v3"] = TextVector(moment.written, "splade-v3")
    return vectors


def _milliseconds(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds") + "000"


# The assets and features that Mixpeek's own guides show, under their documented ids.


TEXT_ASSET = "60f391eb-b5ea-41cd-ba75-98d1bca25432"


TEXT_FEATURE = "98b693c0-6fc1-4420-97bd-6c4506356230"


IMAGE_ASSET = "cfa6c2a4-b695-4fc2-84df-868391b218e0"


IMAGE_FEATURE = "3086f1ee-62f1-49cf-b859-b553044aebed"


VIDEO_ASSET = "198dacbb-c7d2-41c3-b008-83ea41b29c31"


_AGILITY = (
    ("A still image of a dog at the edge of an agility course", "Ready? On your marks.", "AUSSIE AGILITY\n"),
    ("", "", ""),
    ("An Australian shepherd jumping over a double bar", "Over the double, lovely.", ""),
    ("The dog races along the dog walk and touches the yellow zone", 'Feet on yellow, "good" touch!', "DOG WALK\n"),
    ("Spinning around, the aussie finds the tunnel", "Tunnel, tunnel, tunnel!", ""),
    ("Slow motion of a dog leaping a hedge of flowers", "That is how high she jumps.", "SLOW MOTION\n"),
    ("The dog weaves through poles faster and faster", "In, out, in, out.", ""),
    ("A tired aussie lies down on the table for five seconds", "Five, four, three, two, one.", "TABLE\n"),
    ("The handler slips on wet grass while the dog waits", "Oh no! Up again.", ""),
    ("Last jumps towards the finish line", "Go, go, go!", "FINISH\n"),
    ("The crowd cheers for the dog and its handler", "What a run!", ""),
    ("Credits over a photo of a dog with a rosette", "Thanks for watching.\n", "THE END\nwoof\n"),
)


def documented_assets() -> tuple[StoredAsset, ...]:
    """A text and an image in the collection `example`, and the quickstart's video in `quickstart`."""
    return _text(), _image(), _video()


def _text() -> StoredAsset:
    asset = _asset(
        TEXT_ASSET,
        "example",
        {
            "url": None,
            "metadata": {"asset": {}, "author": "user", "preview_url": None},
            "modality": "text",
            "task_id": "3f0189c2-2f49-4119-851d-56a5701436a9",
            "unique_hash": None,
            "updated_at": "2024-11-07T14:31:56.428000",
            "created_at": "2024-11-07T14:31:55.473000",
        },
    )
    words = "two people inside a car"
    fields = {
        "feature_id": TEXT_FEATURE,
        "modality": "text",
        "asset_id": TEXT_ASSET,
        "collection_id": "example",
        "metadata": {"author": "user"},
        "text": words,
        "created_at": "2024-11-07T14:31:56.053031Z",
    }
    vectors: dict[str, VectorSource] = {
        name: TextVector(words, name) for name in ("multimodal-v1", "baai-bge-m3", "splade-v3")
    }
    asset.features[TEXT_FEATURE] = StoredFeature(TEXT_FEATURE, TEXT_ASSET, fields, vectors)
    return asset


def _image() -> StoredAsset:
    asset = _asset(
        IMAGE_ASSET,
        "example",
        {
            "url": "https://media.example.com/example/3086f1ee.jpg",
            "metadata": {},
            "modality": "image",
            "task_id": "857056f8-1f0d-4cad-aa37-96757e12872e",
            "updated_at": "2024-11-06T18:19:44.102000",
            "created_at": "2024-11-06T18:19:40.006000",
        },
    )
    fields = {
        "created_at": "2024-11-06T18:19:43.340820Z",
        "asset_id": IMAGE_ASSET,
        "metadata": {},
        "feature_id": IMAGE_FEATURE,
        "modality": "image",
    }
    # The guide prints the first two numbers of this vector and leaves out the rest.
    vector = PatchedVector("an example", "multimodal-v1", (-0.022097813, 0.021723306))
    asset.features[IMAGE_FEATURE] = StoredFeature(IMAGE_FEATURE, IMAGE_ASSET, fields, {"multimodal-v1": vector})
    return asset


def _video() -> StoredAsset:
    asset = _asset(
        VIDEO_ASSET,
        "quickstart",
        {
            "url": "https://media.example.com/quickstart/aussie_agility.mp4",
            "metadata": {"hello": "world"},
            "modality": "video",
            "task_id": "7c9be6a5-5f0e-4c43-9e34-08b1c1d3a9b1",
            "updated_at": "2024-11-06T21:07:12.900000",
            "created_at": "2024-11-06T21:04:31.250000",
        },
    )
    for part, (seen, said, written) in enumerate(_AGILITY):
        feature = _segment(part, seen, said, written) if part != 1 else _printed_segment()
        asset.features[feature.feature_id] = feature
    return asset


def _asset(asset_id: str, collection_id: str, fields: dict[str, Any]) -> StoredAsset:
    always = {"asset_id": asset_id, "collection_id": collection_id, "status": "DONE", "error": None, "score": None}
    return StoredAsset(asset_id, collection_id, {**always, **fields})


def _printed_segment() -> StoredFeature:
    said = (
        "0:10 Can't lose weight. She might have high cortisol levels. 0:15 Neck, shoulder, and back tension. "
        'Often due to "fight or flight" stress response. 0:19 Procrastination is a freeze response to trauma. \n'
    )
    written = "CORTISOL DETOX\nSomatic Yoga challenge\n"
    feature = _segment(1, "The video starts with a still image ...", said, written)
    feature.fields["transcription"] = said
    return feature


def _segment(part: int, seen: str, said: str, written: str) -> StoredFeature:
    feature_id = f"{VIDEO_ASSET[:-2]}{0x40 + part:02x}"
    fields = {
        "feature_id": feature_id,
        "modality": "video",
        "asset_id": VIDEO_ASSET,
        "collection_id": "quickstart",
        "metadata": {"hello": "world"},
        "start_time": part * 10.0,
        "end_time": part * 10.0 + 10.0,
        "interval_sec": 10,
        "transcription": f"{part * 10 // 60}:{part * 10 % 60:02} {said}",
        "text": written,
        "description": seen,
        "json_output": {"emotions": ["excited"] if part % 3 else ["calm", "focused"]},
        "created_at": f"2024-11-06T21:07:{part:02}.{418_203 + part:06}Z",
    }
    words = {"multimodal-v1": f"{seen} {said} {written}", "baai-bge-m3": said}
    vectors: dict[str, VectorSource] = {name: TextVector(text, name) for name, text in words.items()}
    return StoredFeature(feature_id, VIDEO_ASSET, fields, vectors)


# The described catalogue: about two hundred assets whose ids, times and vectors are always the same.


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
