"""Accounts to start with: the described one, one of any size for benchmarks, and what is in a file nobody described."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import chain, pairwise
from operator import attrgetter
from posixpath import basename
from threading import RLock
from typing import Any, Final, NamedTuple

from vectorferry.connector.sandbox._settings import GeneratedIndexes
from vectorferry.connector.sandbox._shots import (
    Moment,
    Shot,
    catalogue,
    lesson_shots,
    podcast_shots,
    product_shots,
    video_shots,
)
from vectorferry.connector.sandbox._twelvelabs._account import (
    Account,
    EmbedTask,
    Entity,
    EntityCollection,
    Index,
    IndexedAsset,
    Segment,
    Upload,
    Utterance,
    now,
    object_id,
    whole_segments,
)
from vectorferry.connector.sandbox._vectors import NoiseVector, TextVector

SCENES: Final = 4
LENGTH: Final = 6.0


# The described account: films, lectures, and an older index of some of the films under an older model.

_OPENED = datetime(2026, 3, 2, 8, 0, 0, 137_000, UTC)
_STEP = timedelta(minutes=17, seconds=4, milliseconds=331)
_UNREADY = {7: "pending", 18: "queued", 29: "indexing", 40: "failed", 51: "validating", 63: "failed"}
_ARCHIVED = 12
_OPTIONS = ("visual", "audio")


def described_account(lock: RLock | None = None) -> Account:
    """`films` has more than one page; some of what is in it is unfinished or failed, some is silent or only heard."""
    return Account(lock, _describe)


def _describe(account: Account) -> None:
    new, old = Model("marengo3.0", 512), Model("marengo2.7", 1024)
    _fill(account, _index("films", new, 0), films(new), _UNREADY)
    _fill(account, _index("lectures", new, 30), lectures(new))
    _fill(account, _index("archive", old, -300), films(old)[:_ARCHIVED])
    account.embed_tasks = {task.task_id: task for task in _described_tasks()}
    _describe_entities(account)


def _index(name: str, model: Model, days: int) -> Index:
    opened = _OPENED + timedelta(days=days)
    return Index(object_id("index", name), name, model.name, _OPTIONS, model.dimension, opened, opened)


def _fill(account: Account, index: Index, reel: Iterable[Film], unready: dict[int, str] | None = None) -> None:
    account.add_index(index)
    for number, film in enumerate(reel):
        uploaded = account.uploads.setdefault(film.asset_id, _uploaded(film, index.created_at + number * _STEP))
        status = (unready or {}).get(number, "ready")
        account.add(_indexed(film, index, uploaded, index.created_at + (number + 1) * _STEP, status))
        index.updated_at = index.created_at + (number + 2) * _STEP


def _uploaded(film: Film, created_at: datetime) -> Upload:
    return Upload(
        film.asset_id,
        film.filename,
        film.file_type,
        created_at,
        url=film.url,
        size=film.system_metadata["size"],
        duration=film.system_metadata["duration"],
        utterances=film.utterances,
    )


def _indexed(film: Film, index: Index, upload: Upload, created_at: datetime, status: str) -> IndexedAsset:
    done = created_at + timedelta(minutes=5, seconds=56, milliseconds=377)
    ready = status == "ready"
    return IndexedAsset(
        object_id("indexed asset", index.index_id, upload.asset_id),
        index.index_id,
        upload.asset_id,
        created_at,
        done if ready else created_at,
        status,
        done if ready else None,
        film.system_metadata,
        dict(film.user_metadata),
        film.segments,
        film.utterances,
        film.stream,
    )


# From a described shot to what TwelveLabs would find in the file.

_FILES = {"video": ("mp4", "video/mp4"), "audio": ("mp3", "audio/mpeg")}
_LEAD, _TRAIL = 0.35, 0.25


class Model(NamedTuple):
    """What looks and listens."""

    name: str
    dimension: int


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
    utterances: tuple[Utterance, ...]

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
        tuple(_utterances(shot, cuts)),
    )


def _cuts(shot: Shot) -> list[float]:
    """Where one moment ends and the next begins: every four to ten seconds."""
    lengths = hashlib.shake_256(shot.slug.encode()).digest(len(shot.moments))
    cuts = [0.0]
    for length in lengths:
        cuts.append(round(cuts[-1] + 4 + length * 6 / 255, 7))
    return cuts


def _system_metadata(shot: Shot, filename: str, duration: float) -> dict[str, Any]:
    always: dict[str, Any] = {"filename": filename, "duration": duration, "size": 20_000 + int(duration * 81_920)}
    picture = {"fps": 29.97, "width": 1280, "height": 720} if shot.modality == "video" else {}
    return {**always, **picture}


def _segments(shot: Shot, model: Model, cuts: list[float]) -> Iterator[Segment]:
    # Only videos have pictures, and spoken words have vectors of their own since 3.0.
    lacking = {"visual" if shot.modality != "video" else "", "transcription" if model.name == "marengo2.7" else ""}
    for option, describe in _DESCRIBED.items():
        for (start, end), moment in zip(pairwise(cuts), shot.moments, strict=True):
            text = describe(moment)
            if text and option not in lacking:
                # Words begin and end inside the scene.
                span = _speech(start, end) if option == "transcription" else (start, end)
                yield Segment(*span, option, TextVector(text, model.name, model.dimension))


def _utterances(shot: Shot, cuts: list[float]) -> Iterator[Utterance]:
    for span, moment in zip(pairwise(cuts), shot.moments, strict=True):
        if moment.speech:
            yield Utterance(*_speech(*span), moment.speech)


def _speech(start: float, end: float) -> tuple[float, float]:
    return round(start + _LEAD, 7), round(end - _TRAIL, 7)


def _picture(moment: Moment) -> str:
    return f"{moment.scene} {moment.caption}".strip()


def _sound(moment: Moment) -> str:
    # Sound has the mood of what is said and none of what is only seen.
    return f"{moment.speech} {' '.join(moment.emotions)}".strip() if moment.speech else ""


_DESCRIBED: Mapping[str, Callable[[Moment], str]] = {
    "visual": _picture,
    "audio": _sound,
    "transcription": attrgetter("speech"),
}


# The described films are made once for each model: a sandbox is started far more often than they change.


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


# The described embedding tasks. Their times follow the clock, for the lists end after seven days.

_MODEL: Final = Model("marengo3.0", 512)
_DAYS: Final = (1, 2, 3, 5, 0, 4, 10)
_STATES: Final = {4: "processing", 5: "failed"}
_FAILED: Final = "The embedding task failed. Please try again later."
_WHOLE: Final = {"v1": "video", "v2": "asset"}


def _described_tasks() -> Iterator[EmbedTask]:
    """Seven of each version: the fifth is unfinished, the sixth failed, and the last is ten days old."""
    reel = films(_MODEL)
    videos = [film for film in reel if film.kind == "video"]
    sounds = [film for film in reel if film.kind == "audio"]
    for number in range(len(_DAYS)):
        yield _task("v1", number, videos[number])
        yield _task("v2", number, sounds[0] if number == 1 else videos[len(_DAYS) + number])


def _task(version: str, number: int, film: Film) -> EmbedTask:
    midnight = now().replace(hour=0, minute=0, second=0, microsecond=0)
    created = midnight - timedelta(days=_DAYS[number]) + timedelta(minutes=number)
    status = _STATES.get(number, "ready")
    duration, ready = film.system_metadata["duration"], status == "ready"
    segments = (*film.segments, *whole_segments(film.segments, duration, _WHOLE[version])) if ready else ()
    return EmbedTask(
        object_id("described task", version, number),
        version,
        _MODEL.name,
        created,
        created + timedelta(seconds=40),
        film.url,
        duration,
        tuple(dict.fromkeys(one.option for one in film.segments)),
        segments,
        status,
        film.kind,
        _FAILED if status == "failed" else "",
    )


# The described entities.

_BEGUN = datetime(2026, 5, 4, 9, 30, 0, 250_000, UTC)


def _describe_entities(account: Account) -> None:
    """Put collections of entities into an account, with the pictures that they are known by."""
    people = {lesson["author"]: f"Teaches: {lesson['title']}" for lesson in catalogue()["lessons"]}
    dogs = {dog["name"]: dog["description"] for dog in catalogue()["dogs"]}
    described = {"people": ("Who lectures", people), "dogs": ("", dogs), "empty": ("Nobody yet", {})}
    for days, (name, (description, entities)) in enumerate(described.items()):
        time = _BEGUN + timedelta(days=days)
        collection = EntityCollection(object_id("entities", name), name, time, time, description)
        account.entity_collections[collection.collection_id] = collection
        for number, entity in enumerate(entities.items()):
            _add_entity(account, collection, number, *entity)


def _add_entity(account: Account, collection: EntityCollection, number: int, name: str, description: str) -> None:
    time = collection.created_at + timedelta(minutes=number + 1)
    picture = Upload(object_id("picture", name), f"{_slug(name)}.jpg", "image/jpeg", time, size=48_000)
    account.uploads[picture.asset_id] = picture
    entity = Entity(object_id("entity", name), collection.collection_id, name, time, time, description)
    entity.metadata = {"number": number, "kind": collection.name}
    entity.asset_ids = (picture.asset_id,)
    collection.entities[entity.entity_id] = entity


def _slug(name: str) -> str:
    return "-".join(name.lower().replace(".", "").split())


# An account of any size for benchmarks: plain assets, noise for vectors.

_GENERATED_AT = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)
_SECONDS = 6.0


def generated_account(settings: GeneratedIndexes, lock: RLock | None = None) -> Account:
    """Assets ``0, 1, …`` dealt out to the indexes in turn; no vector is made before it is asked for."""
    account = Account(lock)
    indexes = [_generated_index(settings, name) for name in settings.indexes]
    for index in indexes:
        account.add_index(index)
    for number in range(settings.assets):
        _add(account, settings, indexes[number % len(indexes)], number)
    return account


def _generated_index(settings: GeneratedIndexes, name: str) -> Index:
    options = tuple(option for option in settings.options if option != "transcription")
    index_id = object_id("generated index", settings.seed, name)
    return Index(index_id, name, settings.model_name, options, settings.dimension, _GENERATED_AT, _GENERATED_AT)


def _add(account: Account, settings: GeneratedIndexes, index: Index, number: int) -> None:
    asset_id = object_id("generated asset", settings.seed, number)
    created = _GENERATED_AT + timedelta(seconds=number)
    filename, duration = f"{number:07}.mp4", settings.segments_per_asset * _SECONDS
    account.uploads[asset_id] = Upload(asset_id, filename, "video/mp4", created, size=1_000_000, duration=duration)
    indexed = IndexedAsset(
        object_id("generated indexed asset", settings.seed, number), index.index_id, asset_id, created, created
    )
    indexed.indexed_at = created
    indexed.system_metadata = {"filename": filename, "duration": duration, "fps": 25, "width": 1280, "height": 720}
    indexed.user_metadata = {"number": number, "author": f"author {number % 17}"}
    indexed.segments = tuple(_generated_segments(settings, number))
    if "audio" in settings.options:
        indexed.utterances = tuple(_generated_utterances(settings, number))
    account.add(indexed)


def _generated_segments(settings: GeneratedIndexes, number: int) -> Iterator[Segment]:
    first = (settings.seed * settings.assets + number) * settings.segments_per_asset * len(settings.options)
    for place, option in enumerate(settings.options):
        for part in range(settings.segments_per_asset):
            seed = first + place * settings.segments_per_asset + part
            vector = NoiseVector(seed, settings.dimension)
            yield Segment(part * _SECONDS, (part + 1) * _SECONDS, option, vector)


def _generated_utterances(settings: GeneratedIndexes, number: int) -> Iterator[Utterance]:
    for part in range(settings.segments_per_asset):
        value = f"segment {part} of generated asset {number}"
        yield Utterance(part * _SECONDS + 0.5, (part + 1) * _SECONDS - 0.5, value)


# What would be in a file that nobody has described.


def about(filename: str) -> str:
    """The words of a file's name."""
    return basename(filename).rpartition(".")[0].replace("-", " ").replace("_", " ")


def imagined(filename: str, options: Sequence[str], model_name: str, dimension: int) -> Iterator[Segment]:
    """What is in a file that nobody has described: scenes about its name, four of six seconds for each option."""
    for option in options:
        for scene in range(SCENES):
            vector = TextVector(f"{about(filename)} {option} scene {scene + 1}", model_name, dimension)
            yield Segment(scene * LENGTH, (scene + 1) * LENGTH, option, vector)
