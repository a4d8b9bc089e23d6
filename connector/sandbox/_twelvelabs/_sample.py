"""Accounts to start with: the described one, and one of any size for benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import Final

from vectorferry.connector.sandbox._settings import GeneratedIndexes, TwelveLabsDialect
from vectorferry.connector.sandbox._subjects import LESSONS
from vectorferry.connector.sandbox._twelvelabs._account import (
    Account,
    EmbedTask,
    Entity,
    EntityCollection,
    Index,
    IndexedAsset,
    Segment,
    Spoken,
    Upload,
    object_id,
)
from vectorferry.connector.sandbox._twelvelabs._dialect import now
from vectorferry.connector.sandbox._twelvelabs._media import Film, Model, films, lectures
from vectorferry.connector.sandbox._vectors import NoiseVector

__all__ = ["described_account", "generated_account"]


_BEGUN = datetime(2026, 5, 4, 9, 30, 0, 250_000, UTC)


_DOGS = (("Bolt", "a border collie"), ("Pixel", "an Australian shepherd"), ("Nana", "an old terrier"))


def describe_entities(account: Account) -> None:
    """Put them into an account, with the pictures that they are known by."""
    people = ((lesson.author, f"Teaches: {lesson.title}") for lesson in LESSONS)
    _fill_entities(account, _collection("people", "Who lectures", 0), dict(people).items())
    _fill_entities(account, _collection("dogs", "", 1), _DOGS)
    _fill_entities(account, _collection("empty", "Nobody yet", 2), ())


def _collection(name: str, description: str, days: int) -> EntityCollection:
    made = _BEGUN + timedelta(days=days)
    return EntityCollection(object_id("entities", name), name, made, made, description)


def _fill_entities(account: Account, collection: EntityCollection, entities: Iterable[tuple[str, str]]) -> None:
    account.entity_collections[collection.collection_id] = collection
    for number, (name, description) in enumerate(entities):
        made = collection.created_at + timedelta(minutes=number + 1)
        picture = Upload(object_id("picture", name), f"{_slug(name)}.jpg", "image/jpeg", made, size=48_000)
        account.uploads[picture.asset_id] = picture
        entity = Entity(object_id("entity", name), collection.collection_id, name, made, made, description)
        entity.metadata = {"number": number, "kind": collection.name}
        entity.asset_ids = (picture.asset_id,)
        collection.entities[entity.entity_id] = entity


def _slug(name: str) -> str:
    return "-".join(name.lower().replace(".", "").split())


# The described embedding tasks. Their times follow the clock, for the lists end after seven days.


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


# The described account: films, lectures, and an older index of some of the films under an older model.


_OPENED = datetime(2026, 3, 2, 8, 0, 0, 137_000, UTC)


_STEP = timedelta(minutes=17, seconds=4, milliseconds=331)


_UNREADY = {7: "pending", 18: "queued", 29: "indexing", 40: "failed", 51: "validating", 63: "failed"}


_ARCHIVED = 12


def described_account(dialect: TwelveLabsDialect, lock: RLock | None = None) -> Account:
    """`films` has more than one page; some of what is in it is unfinished or failed, some is silent or only heard."""
    account = Account(lock)
    new, old = Model("marengo3.0", 512), Model("marengo2.7", 1024)
    _fill(account, _index("films", new, 0), films(new), dialect, _UNREADY)
    _fill(account, _index("lectures", new, 30), lectures(new), dialect)
    _fill(account, _index("archive", old, -300), films(old)[:_ARCHIVED], dialect)
    if dialect.second_dimension is not None:
        small = Model(new.name, dialect.second_dimension)
        _fill(account, _index("films-small", small, 60), films(small)[:_ARCHIVED], dialect)
    account.embed_tasks = {task.task_id: task for task in described_tasks()}
    describe_entities(account)
    return account


def _index(name: str, model: Model, days: int) -> Index:
    opened = _OPENED + timedelta(days=days)
    return Index(object_id("index", name), name, model.name, model.options, model.dimension, opened, opened)


def _fill(
    account: Account,
    index: Index,
    reel: Iterable[Film],
    dialect: TwelveLabsDialect,
    unready: dict[int, str] | None = None,
) -> None:
    account.add_index(index)
    for number, made in enumerate(reel):
        uploaded = account.uploads.setdefault(made.asset_id, _uploaded(made, index.created_at + number * _STEP))
        state = (unready or {}).get(number, "ready")
        status = dialect.unready_status or state if state != "ready" else state
        account.add(_indexed(made, index, uploaded, index.created_at + (number + 1) * _STEP, status))
        index.updated_at = index.created_at + (number + 2) * _STEP


def _uploaded(made: Film, created_at: datetime) -> Upload:
    return Upload(
        made.asset_id,
        made.filename,
        made.file_type,
        created_at,
        url=made.url,
        size=made.system_metadata["size"],
        duration=made.system_metadata["duration"],
        spoken=made.spoken,
    )


def _indexed(made: Film, index: Index, upload: Upload, created_at: datetime, status: str) -> IndexedAsset:
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
        made.system_metadata,
        dict(made.user_metadata),
        made.segments,
        made.spoken,
        made.stream,
    )


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
    indexed.segments = tuple(_segments(settings, number))
    if "audio" in settings.options:
        indexed.spoken = tuple(_spoken(settings, number))
    account.add(indexed)


def _segments(settings: GeneratedIndexes, number: int) -> Iterator[Segment]:
    first = (settings.seed * settings.assets + number) * settings.segments_per_asset * len(settings.options)
    for place, option in enumerate(settings.options):
        for part in range(settings.segments_per_asset):
            seed = first + place * settings.segments_per_asset + part
            vector = NoiseVector(seed, settings.dimension)
            yield Segment(part * _SECONDS, (part + 1) * _SECONDS, option, vector)


def _spoken(settings: GeneratedIndexes, number: int) -> Iterator[Spoken]:
    for part in range(settings.segments_per_asset):
        said = f"segment {part} of generated asset {number}"
        yield Spoken(part * _SECONDS + 0.5, (part + 1) * _SECONDS - 0.5, said)
