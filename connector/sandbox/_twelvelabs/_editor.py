"""Changing what the TwelveLabs sandbox holds, from Python and over HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vectorferry.connector._model._records import DenseVector
from vectorferry.connector.sandbox._control import Edit, edit_routes, json_object, raw_field, touches
from vectorferry.connector.sandbox._http import Request, Route
from vectorferry.connector.sandbox._twelvelabs._account import (
    Account,
    Entity,
    EntityCollection,
    Index,
    IndexedAsset,
    Segment,
    Spoken,
    Upload,
    object_id,
)
from vectorferry.connector.sandbox._twelvelabs._dialect import later, now
from vectorferry.connector.sandbox._twelvelabs._media import MarengoVector, made_again
from vectorferry.connector.sandbox._vectors import RawVector, VectorSource, raw_json, raw_value

__all__ = ["TwelveLabsEditor", "editor_routes"]


def given_asset(index: Index, given: Mapping[str, Any], number: int) -> IndexedAsset:
    """`number` makes an id for an asset without one."""
    made = now()
    status = given.get("status", "ready")
    segments = tuple(_segments(index, given.get("segments", ())))
    filename = given.get("filename", f"{number}.mp4")
    duration = given.get("duration", max((one.end for one in segments), default=10.0))
    return IndexedAsset(
        given.get("asset_id") or object_id("put", index.index_id, number),
        index.index_id,
        given.get("upload_id") or object_id("put upload", index.index_id, number),
        made,
        made,
        status,
        made if status == "ready" else None,
        {"filename": filename, "duration": duration, "fps": 25, "width": 1280, "height": 720, "size": 1_000_000},
        dict(given.get("user_metadata", {})),
        segments,
        tuple(Spoken(one["start"], one["end"], one["value"]) for one in given.get("transcription", ())),
    )


def given_upload(asset: IndexedAsset) -> Upload:
    """The file that an asset is of."""
    known = asset.system_metadata
    return Upload(
        asset.asset_id,
        known["filename"],
        "video/mp4",
        asset.created_at,
        size=known["size"],
        duration=known["duration"],
        spoken=asset.spoken,
    )


def _segments(index: Index, given: Iterable[Mapping[str, Any]]) -> Iterator[Segment]:
    for one in given:
        yield Segment(one["start"], one["end"], one["option"], _vector(index, one), one.get("scope", "clip"))


def _vector(index: Index, given: Mapping[str, Any]) -> VectorSource:
    if "float" in given:
        return RawVector(raw_json(given["float"]))
    return MarengoVector(given.get("text", ""), index.model_name, index.dimension)


# Changing what the TwelveLabs sandbox holds, from Python.


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
            found = [one.index_id for one in self._account.indexes.values() if one.name == name]
        if not found:
            raise KeyError(name)
        return found[0]

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
            known = {name: getattr(asset, name) for name in names}
            return {**known, **asset.system_metadata, "user_metadata": dict(asset.user_metadata)}

    def segments(self, asset_id: str) -> list[dict[str, Any]]:
        """Its segments: `start`, `end`, `option` and `vector`, the latter None when a raw value is served."""
        with self._account.lock:
            segments = self._account.indexed_assets[asset_id].segments
            return [
                {"start": one.start, "end": one.end, "option": one.option, "vector": one.vector.dense()}
                for one in segments
            ]

    def vectors(self, asset_id: str) -> list[DenseVector | None]:
        """The vectors of its segments alone."""
        return [one["vector"] for one in self.segments(asset_id)]

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
            made = now()
            self._account.add_index(Index(index_id, name, model_name, tuple(options), dimension, made, made))
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
            stored = given_asset(index, asset, len(self._account.indexed_assets))
            known = self._account.indexed_assets.get(stored.indexed_asset_id)
            if known is not None:
                stored.created_at, stored.updated_at = known.created_at, later(known.updated_at)
            self._account.add(stored)
            self._account.uploads.setdefault(stored.asset_id, given_upload(stored))
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

    def reembed(self, thing_id: str, dimension: int | None = None, *, touch: bool = True) -> None:
        """Give an asset, or all that an index holds, other vectors; of another dimension, if one is named."""
        with self._account.lock:
            index = self._account.indexes.get(thing_id)
            assets = index.assets.values() if index else [self._account.indexed_assets[thing_id]]
            if index is not None and dimension is not None:
                index.dimension = dimension
            for asset in assets:
                size = dimension or self._account.indexes[asset.index_id].dimension
                segments = (replace(one, vector=made_again(one.vector, size)) for one in asset.segments)
                asset.segments = tuple(segments)
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
            made = now()
            collection = EntityCollection(object_id("entities", name), name, made, made, description)
            self._account.entity_collections[collection.collection_id] = collection
            return collection.collection_id

    def remove_entity_collection(self, collection_id: str) -> None:
        """Delete a collection with its entities."""
        with self._account.lock:
            del self._account.entity_collections[collection_id]

    def put_entity(self, collection_id: str, name: str, entity_id: str | None = None, **known: Any) -> str:
        """Add an entity, or replace the one with the same id; `known` are other fields of it. Returns its id."""
        with self._account.lock:
            entities = self._account.entity_collections[collection_id].entities
            entity_id = entity_id or object_id("entity", collection_id, name)
            before = entities.get(entity_id)
            made = before.created_at if before else now()
            times = {"created_at": made, "updated_at": later(before.updated_at) if before else made}
            entities[entity_id] = Entity(entity_id, collection_id, name, **{**times, **known})
            return entity_id

    def remove_entity(self, entity_id: str) -> None:
        """Delete an entity."""
        with self._account.lock:
            for collection in self._account.entity_collections.values():
                if collection.entities.pop(entity_id, None) is not None:
                    return
        raise KeyError(entity_id)

    def embed_task_ids(self, version: str) -> list[str]:
        """The ids of the embedding tasks of ``v1`` or ``v2``."""
        with self._account.lock:
            return [one.task_id for one in self._account.embed_tasks.values() if one.version == version]

    def remove_embed_task(self, task_id: str) -> None:
        """Delete an embedding task, as time does."""
        with self._account.lock:
            del self._account.embed_tasks[task_id]

    def _changed(self, asset: IndexedAsset, touch: bool) -> None:
        self._account.revise(asset)
        if touch:
            asset.updated_at = later(asset.updated_at)


# The edits of `TwelveLabsEditor` over HTTP, under ``/_sandbox/twelvelabs``.


_BASE = "/_sandbox/twelvelabs"


_INDEX = f"{_BASE}/indexes/{{index_id}}"


_ASSET = f"{_BASE}/assets/{{asset_id}}"


def editor_routes(editor: TwelveLabsEditor) -> list[Route]:
    """One route per edit. Bodies are JSON, but those of vectors and fields are served as they came, valid or not.

    ``?touch=false`` leaves the asset's `updated_at` alone.
    """
    edits: dict[tuple[str, str], Edit] = {
        ("GET", _BASE): lambda _: {"indexes": {one: editor.asset_ids(one) for one in editor.index_ids()}},
        ("PUT", _INDEX): lambda r: _put_index(editor, r),
        ("DELETE", _INDEX): lambda r: editor.remove_index(*r.params),
        ("POST", f"{_INDEX}/reembed"): lambda r: _reembed(editor, r),
        ("POST", f"{_INDEX}/assets"): lambda r: _id(editor.put_asset(r.params[0], json_object(r))),
        ("DELETE", _ASSET): lambda r: editor.remove_asset(*r.params),
        ("PATCH", f"{_ASSET}/metadata"): lambda r: editor.edit_metadata(r.params[0], json_object(r), touch=touches(r)),
        ("PUT", f"{_ASSET}/status"): lambda r: editor.set_status(r.params[0], str(json_object(r)["status"])),
        ("POST", f"{_ASSET}/reembed"): lambda r: _reembed(editor, r),
        ("PUT", f"{_ASSET}/fields/{{name}}"): lambda r: editor.put_field(*raw_field(r), touch=touches(r)),
        ("PUT", f"{_ASSET}/vectors/{{place}}"): lambda r: _put_vector(editor, r),
        ("PUT", f"{_BASE}/uploads/{{upload_id}}/status"): lambda r: editor.set_upload_status(
            r.params[0], str(json_object(r)["status"])
        ),
        ("PUT", f"{_BASE}/entity-collections/{{name}}"): lambda r: _id(editor.put_entity_collection(*r.params)),
        ("DELETE", f"{_BASE}/entity-collections/{{id}}"): lambda r: editor.remove_entity_collection(*r.params),
        ("POST", f"{_BASE}/entity-collections/{{id}}/entities"): lambda r: _put_entity(editor, r),
        ("DELETE", f"{_BASE}/entities/{{id}}"): lambda r: editor.remove_entity(*r.params),
        ("DELETE", f"{_BASE}/embed-tasks/{{id}}"): lambda r: editor.remove_embed_task(*r.params),
    }
    return edit_routes(edits)


def _put_index(editor: TwelveLabsEditor, request: Request) -> dict[str, Any]:
    body = json_object(request)
    known = {name: body[name] for name in ("model_name", "options", "dimension") if name in body}
    return _id(editor.put_index(body["name"], request.params[0], **known))


def _reembed(editor: TwelveLabsEditor, request: Request) -> None:
    dimension = json_object(request).get("dimension") if request.body else None
    editor.reembed(request.params[0], dimension, touch=touches(request))


def _put_vector(editor: TwelveLabsEditor, request: Request) -> None:
    asset_id, place, value = raw_field(request)
    editor.put_vector(asset_id, int(place), value, touch=touches(request))


def _put_entity(editor: TwelveLabsEditor, request: Request) -> dict[str, Any]:
    body = json_object(request)
    known = {name: body[name] for name in ("description", "metadata", "asset_ids", "status") if name in body}
    return _id(editor.put_entity(request.params[0], body["name"], body.get("entity_id"), **known))


def _id(made: str) -> dict[str, str]:
    return {"_id": made}
