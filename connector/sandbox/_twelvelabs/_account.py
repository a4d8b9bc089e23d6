"""What a TwelveLabs account has, in memory, and how somebody changes it while it is served."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import RLock
from typing import Any

from vectorferry.connector.sandbox._settings import visible
from vectorferry.connector.sandbox._shots import FilledLate
from vectorferry.connector.sandbox._vectors import RawVector, TextVector, VectorSource, made_again, raw_json, raw_value


@dataclass(frozen=True, slots=True)
class Segment:
    """From `start` to `end`, in seconds, as one embedding option sees it."""

    start: float
    end: float
    option: str
    vector: VectorSource
    scope: str = "clip"


@dataclass(frozen=True, slots=True)
class Utterance:
    """A sentence or a word, and when it is said."""

    start: float
    end: float
    value: str


@dataclass(slots=True)
class Upload:
    """A file of the account, which TwelveLabs calls an asset. It may be in several indexes, or in none."""

    asset_id: str
    filename: str
    file_type: str
    created_at: datetime
    url: str | None = None
    status: str = "ready"
    size: int | None = None
    duration: float | None = None
    user_metadata: dict[str, Any] = field(default_factory=dict)
    utterances: tuple[Utterance, ...] = ()
    method: str = "url"
    upcoming: tuple[str, ...] = ()

    def enter(self, status: str) -> None:
        """A change of state, which moves no time: uploads have none."""
        self.status = status


@dataclass(slots=True)
class IndexedAsset:
    """An upload in an index.

    `upcoming` are the states that it goes through, one per look at it, and `fields` are shown in place of what the
    others say. No two versions of its vectors have the same `revision`.
    """

    indexed_asset_id: str
    index_id: str
    asset_id: str
    created_at: datetime
    updated_at: datetime
    status: str = "ready"
    indexed_at: datetime | None = None
    system_metadata: dict[str, Any] = field(default_factory=dict)
    user_metadata: dict[str, Any] = field(default_factory=dict)
    segments: tuple[Segment, ...] = ()
    utterances: tuple[Utterance, ...] = ()
    stream: str | None = None
    upcoming: tuple[str, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)
    revision: int = 0

    def enter(self, status: str) -> None:
        """A change of state, which moves `updated_at`; only what is ready has been indexed."""
        self.status, self.updated_at = status, later(self.updated_at)
        self.indexed_at = self.updated_at if status == "ready" else None

    def edit_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Set what is named; None takes a value away."""
        merged = {**self.user_metadata, **metadata}
        self.user_metadata = {name: value for name, value in merged.items() if value is not None}


@dataclass(slots=True)
class Index:
    """A container with one model, which never changes. `dimension` is what no answer tells."""

    index_id: str
    name: str
    model_name: str
    options: tuple[str, ...]
    dimension: int
    created_at: datetime
    updated_at: datetime
    assets: dict[str, IndexedAsset] = field(default_factory=dict)
    oldest_first: list[IndexedAsset] | None = None
    """Its assets by when they were made, once somebody has asked for that, until one comes or goes."""


@dataclass(slots=True)
class EmbedTask:
    """A file that was embedded without an index, through version ``v1`` or ``v2`` of those calls."""

    task_id: str
    version: str
    model_name: str
    created_at: datetime
    updated_at: datetime
    url: str
    duration: float
    options: tuple[str, ...]
    segments: tuple[Segment, ...] = ()
    status: str = "ready"
    kind: str = "video"
    error: str = ""
    upcoming: tuple[str, ...] = ()

    def enter(self, status: str) -> None:
        """A change of state, which moves `updated_at`."""
        self.status, self.updated_at = status, later(self.updated_at)

    @property
    def scopes(self) -> list[str]:
        """The scopes that there are, or will be."""
        return sorted({one.scope for one in self.segments} or {"clip"})


@dataclass(slots=True)
class Entity:
    """Somebody or something that may be searched for; `asset_ids` are uploaded pictures of it."""

    entity_id: str
    collection_id: str
    name: str
    created_at: datetime
    updated_at: datetime
    description: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    asset_ids: tuple[str, ...] = ()
    status: str = "ready"


@dataclass(slots=True)
class EntityCollection:
    """Entities that belong together."""

    collection_id: str
    name: str
    created_at: datetime
    updated_at: datetime
    description: str = ""
    entities: dict[str, Entity] = field(default_factory=dict)


def whole_segments(segments: Sequence[Segment], end: float, scope: str) -> list[Segment]:
    """One more segment for each option, as long as everything: its vector is that of the first."""
    first = {segment.option: segment for segment in reversed(segments)}
    options = dict.fromkeys(segment.option for segment in segments)
    return [Segment(0, end, option, first[option].vector, scope) for option in options]


def object_id(*parts: Any) -> str:
    """24 hexadecimal digits that are always the same for these parts."""
    return hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=12).hexdigest()


def now() -> datetime:
    """The present in whole milliseconds."""
    present = datetime.now(UTC)
    return present.replace(microsecond=present.microsecond // 1000 * 1000)


def later(than: datetime) -> datetime:
    """The present, or a millisecond after `than` when that is not past."""
    return max(now(), than + timedelta(milliseconds=1))


class Account(FilledLate):
    """Everything there is. Hold `lock` while reading or changing more than one thing."""

    indexes: dict[str, Index]
    indexed_assets: dict[str, IndexedAsset]
    uploads: dict[str, Upload]
    embed_tasks: dict[str, EmbedTask]
    entity_collections: dict[str, EntityCollection]

    def __init__(self, lock: RLock | None = None, fill: Callable[[Account], None] | None = None) -> None:
        super().__init__(lock or RLock(), fill)
        self._revisions = count(1)

    def begin(self) -> None:
        """Nothing is there yet."""
        self.indexes, self.indexed_assets, self.uploads = {}, {}, {}
        self.embed_tasks, self.entity_collections = {}, {}

    def part(self, share: float) -> Account:
        """What somebody sees who sees only this share of each index's assets, and all that is in no index."""
        part = Account(self.lock)
        part.uploads, part.embed_tasks = self.uploads, self.embed_tasks
        part.entity_collections = self.entity_collections
        for index in self.indexes.values():
            assets = visible(index.assets, share)
            part.indexes[index.index_id] = replace(index, assets=assets, oldest_first=None)
            part.indexed_assets.update(assets)
        return part

    def add_index(self, index: Index) -> None:
        """Put an index in, in place of one with the same id; what that one held goes."""
        self.remove_index(index.index_id)
        self.indexes[index.index_id] = index

    def remove_index(self, index_id: str) -> bool:
        """Take an index out with what it holds; False when there was none."""
        index = self.indexes.pop(index_id, None)
        for asset_id in index.assets if index else ():
            self.indexed_assets.pop(asset_id, None)
        return index is not None

    def add(self, asset: IndexedAsset) -> None:
        """Put an indexed asset into its index, in place of one with the same id."""
        former = self.indexed_assets.get(asset.indexed_asset_id)
        if former is not None:
            self._take_out(former)
        self.revise(asset)
        self.indexed_assets[asset.indexed_asset_id] = asset
        index = self.indexes[asset.index_id]
        index.assets[asset.indexed_asset_id], index.oldest_first = asset, None

    def revise(self, asset: IndexedAsset) -> None:
        """Give what was printed of an asset's vectors up."""
        asset.revision = next(self._revisions)

    def remove(self, indexed_asset_id: str) -> bool:
        """Take an indexed asset out; False when there was none."""
        asset = self.indexed_assets.pop(indexed_asset_id, None)
        if asset is not None:
            self._take_out(asset)
        return asset is not None

    def _take_out(self, asset: IndexedAsset) -> None:
        index = self.indexes[asset.index_id]
        del index.assets[asset.indexed_asset_id]
        index.oldest_first = None

    def forget(self, identifier: str) -> None:
        """Take out whatever has this id, if anything does."""
        if not (self.remove(identifier) or self.remove_index(identifier)):
            self.uploads.pop(identifier, None)
            self.embed_tasks.pop(identifier, None)
            self.entity_collections.pop(identifier, None)
            for collection in self.entity_collections.values():
                collection.entities.pop(identifier, None)

    def of_upload(self, asset_id: str) -> list[IndexedAsset]:
        """An upload in every index that it is in."""
        return [one for one in self.indexed_assets.values() if one.asset_id == asset_id]


class TwelveLabsEditor:
    """Reads and changes the account. Safe from any thread; a change is visible from the next request on.

    An asset is here always an indexed asset, under the `_id` that it has in its index. Every change also moves its
    `updated_at`, unless `touch=False`. What names something that does not exist raises `KeyError`. Where a raw value is
    taken, `bytes` are served as they are, valid JSON or not, and anything else is served as its JSON.
    """

    def __init__(self, account: Account) -> None:
        self._account = account

    def index_ids(self) -> list[str]:
        """The ids of all indexes."""
        with self._account.lock:
            return list(self._account.indexes)

    def index_id(self, name: str) -> str:
        """The id of the first index with this name."""
        with self._account.lock:
            index_ids = [one.index_id for one in self._account.indexes.values() if one.name == name]
        if not index_ids:
            raise KeyError(name)
        return index_ids[0]

    def asset_ids(self, index_id: str | None = None, *, status: str | None = None) -> list[str]:
        """The ids of all assets, or of one index's, or of those with a status such as ``ready``."""
        with self._account.lock:
            account = self._account
            assets = account.indexed_assets if index_id is None else account.indexes[index_id].assets
            return [one.indexed_asset_id for one in assets.values() if status in {None, one.status}]

    def asset(self, asset_id: str) -> dict[str, Any]:
        """What is known of an asset, vectors apart; its times are aware datetimes."""
        with self._account.lock:
            asset = self._account.indexed_assets[asset_id]
            names = ("index_id", "asset_id", "status", "created_at", "updated_at", "indexed_at")
            fields = {name: getattr(asset, name) for name in names}
            return {**fields, **asset.system_metadata, "user_metadata": dict(asset.user_metadata)}

    def segments(self, asset_id: str) -> list[dict[str, Any]]:
        """Its segments: `start`, `end`, `option` and `vector`, the latter None when a raw value is served."""
        with self._account.lock:
            return [
                {"start": one.start, "end": one.end, "option": one.option, "vector": one.vector.dense()}
                for one in self._account.indexed_assets[asset_id].segments
            ]

    def put_index(
        self,
        name: str,
        index_id: str | None = None,
        *,
        model_name: str = "marengo3.0",
        options: Sequence[str] = ("visual", "audio"),
        dimension: int = 512,
    ) -> str:
        """Add an empty index, or replace the one with the same id; returns its id."""
        with self._account.lock:
            index_id = index_id or object_id("index", name)
            time = now()
            self._account.add_index(Index(index_id, name, model_name, tuple(options), dimension, time, time))
            return index_id

    def remove_index(self, index_id: str) -> None:
        """Delete an index with what it holds."""
        with self._account.lock:
            if not self._account.remove_index(index_id):
                raise KeyError(index_id)

    def put_asset(self, index_id: str, asset: Mapping[str, Any]) -> str:
        """Add an asset, or replace the one with the same id; returns its id.

        All of `asset` may be left out: `asset_id` (its id in the index), `upload_id`, `filename`, `status`, `duration`,
        `user_metadata`, `segments` and `transcription`. A segment has `start`, `end` and `option`, and either a `text`
        to make its vector from or a raw `float`; an entry of the transcription has `start`, `end` and `value`.
        """
        with self._account.lock:
            index = self._account.indexes[index_id]
            stored = _new_asset(index, asset, len(self._account.indexed_assets))
            former = self._account.indexed_assets.get(stored.indexed_asset_id)
            if former is not None:
                stored.created_at, stored.updated_at = former.created_at, later(former.updated_at)
            self._account.add(stored)
            self._account.uploads.setdefault(stored.asset_id, _new_upload(stored))
            return stored.indexed_asset_id

    def remove_asset(self, asset_id: str) -> None:
        """Take an asset out of its index."""
        with self._account.lock:
            if not self._account.remove(asset_id):
                raise KeyError(asset_id)

    def edit_metadata(self, asset_id: str, metadata: Mapping[str, Any], *, touch: bool = True) -> None:
        """Set some metadata; what is not named stays, and what is None goes."""
        with self._account.lock:
            asset = self._account.indexed_assets[asset_id]
            asset.edit_metadata(metadata)
            self._changed(asset, touch)

    def set_status(self, asset_id: str, status: str) -> None:
        """Move an asset into a state, known or not."""
        with self._account.lock:
            asset = self._account.indexed_assets[asset_id]
            asset.upcoming = ()
            asset.enter(status)

    def set_upload_status(self, upload_id: str, status: str) -> None:
        """Move an uploaded file into a state: ``processing``, ``ready`` or ``failed``."""
        with self._account.lock:
            upload = self._account.uploads[upload_id]
            upload.upcoming, upload.status = (), status

    def reembed(self, identifier: str, dimension: int | None = None, *, touch: bool = True) -> None:
        """Give an asset, or all that an index holds, other vectors; of another dimension, if one is named."""
        with self._account.lock:
            index = self._account.indexes.get(identifier)
            assets = index.assets.values() if index else [self._account.indexed_assets[identifier]]
            if index is not None and dimension is not None:
                index.dimension = dimension
            for asset in assets:
                size = dimension or self._account.indexes[asset.index_id].dimension
                asset.segments = tuple(replace(one, vector=made_again(one.vector, size)) for one in asset.segments)
                self._changed(asset, touch)

    def put_vector(self, asset_id: str, place: int, value: Any, *, touch: bool = True) -> None:
        """Serve a raw value as the vector of the segment at this place of `segments`."""
        with self._account.lock:
            asset = self._account.indexed_assets[asset_id]
            segments = list(asset.segments)
            segments[place] = replace(segments[place], vector=RawVector(raw_json(value)))
            asset.segments = tuple(segments)
            self._changed(asset, touch)

    def put_field(self, asset_id: str, field: str, value: Any, *, touch: bool = True) -> None:
        """Serve a raw value as this field of an asset, whatever else is known of it."""
        with self._account.lock:
            asset = self._account.indexed_assets[asset_id]
            asset.fields[field] = raw_value(value)
            self._changed(asset, touch)

    def entity_ids(self) -> dict[str, list[str]]:
        """The ids of all entities by that of their collection."""
        with self._account.lock:
            return {one.collection_id: list(one.entities) for one in self._account.entity_collections.values()}

    def put_entity_collection(self, name: str, description: str = "") -> str:
        """Add an empty collection of entities; returns its id."""
        with self._account.lock:
            created_at = now()
            collection = EntityCollection(object_id("entities", name), name, created_at, created_at, description)
            self._account.entity_collections[collection.collection_id] = collection
            return collection.collection_id

    def put_entity(self, collection_id: str, name: str, entity_id: str | None = None, **fields: Any) -> str:
        """Add an entity, or replace the one with the same id; `fields` are others of it. Returns its id."""
        with self._account.lock:
            entities = self._account.entity_collections[collection_id].entities
            entity_id = entity_id or object_id("entity", collection_id, name)
            former = entities.get(entity_id)
            created_at = former.created_at if former else now()
            times = {"created_at": created_at, "updated_at": later(former.updated_at) if former else created_at}
            entities[entity_id] = Entity(entity_id, collection_id, name, **{**times, **fields})
            return entity_id

    def remove_entity(self, entity_id: str) -> None:
        """Delete an entity."""
        with self._account.lock:
            for collection in self._account.entity_collections.values():
                if collection.entities.pop(entity_id, None) is not None:
                    return
        raise KeyError(entity_id)

    def _changed(self, asset: IndexedAsset, touch: bool) -> None:
        self._account.revise(asset)
        if touch:
            asset.updated_at = later(asset.updated_at)


def _new_asset(index: Index, fields: Mapping[str, Any], number: int) -> IndexedAsset:
    """`number` makes an id for an asset without one."""
    created_at = now()
    status = fields.get("status", "ready")
    segments = tuple(_segments(index, fields.get("segments", ())))
    filename = fields.get("filename", f"{number}.mp4")
    duration = fields.get("duration", max((one.end for one in segments), default=10.0))
    return IndexedAsset(
        fields.get("asset_id") or object_id("put", index.index_id, number),
        index.index_id,
        fields.get("upload_id") or object_id("put upload", index.index_id, number),
        created_at,
        created_at,
        status,
        created_at if status == "ready" else None,
        {"filename": filename, "duration": duration, "fps": 25, "width": 1280, "height": 720, "size": 1_000_000},
        dict(fields.get("user_metadata", {})),
        segments,
        tuple(Utterance(one["start"], one["end"], one["value"]) for one in fields.get("transcription", ())),
    )


def _new_upload(asset: IndexedAsset) -> Upload:
    """The file that an asset is of."""
    of_file = asset.system_metadata
    return Upload(
        asset.asset_id,
        of_file["filename"],
        "video/mp4",
        asset.created_at,
        size=of_file["size"],
        duration=of_file["duration"],
        utterances=asset.utterances,
    )


def _segments(index: Index, rows: Iterable[Mapping[str, Any]]) -> Iterator[Segment]:
    for one in rows:
        yield Segment(one["start"], one["end"], one["option"], _vector(index, one), one.get("scope", "clip"))


def _vector(index: Index, row: Mapping[str, Any]) -> VectorSource:
    if "float" in row:
        return RawVector(raw_json(row["float"]))
    return TextVector(row.get("text", ""), index.model_name, index.dimension)
