"""Changing what the Mixpeek sandbox holds, from Python and over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vectorferry.connector.sandbox._control import Edit, edit_routes, json_object, pair, raw_field, touches
from vectorferry.connector.sandbox._http import Request, Route
from vectorferry.connector.sandbox._library import Library, StoredAsset, StoredFeature, add_metadata, bump
from vectorferry.connector.sandbox._vectors import RawVector, TextVector, VectorSource, raw_json, raw_value

__all__ = ["MixpeekEditor", "editor_routes"]


class MixpeekEditor:
    """Reads and changes the media. Safe from any thread; a change is visible from the next request on.

    Every change also moves the asset's `updated_at`, unless `touch=False`. A method that names an asset or feature
    that does not exist raises `KeyError`. Where a raw value is taken, `bytes` are served as they are, valid JSON or
    not, and anything else, numpy arrays too, is served as its JSON, NaN and Infinity included.
    """

    def __init__(self, library: Library) -> None:
        self._library = library

    def collection_ids(self) -> list[str]:
        """The ids of all collections."""
        with self._library.lock:
            return list(self._library.collections)

    def asset_ids(self, collection: str | None = None, *, status: str | None = None) -> list[str]:
        """The ids of all assets, or of one collection's, or of those with a status such as ``DONE``."""
        with self._library.lock:
            assets = self._library.assets.values()
            return [
                asset.asset_id
                for asset in assets
                if collection in {None, asset.collection_id} and status in {None, asset.fields.get("status")}
            ]

    def feature_ids(self, asset_id: str | None = None) -> list[str]:
        """The ids of all features, or of one asset's."""
        with self._library.lock:
            return list(self._library.features if asset_id is None else self._library.assets[asset_id].features)

    def asset(self, asset_id: str) -> dict[str, Any]:
        """A copy of what the API shows of an asset, features apart."""
        with self._library.lock:
            return dict(self._library.assets[asset_id].fields)

    def feature(self, feature_id: str) -> dict[str, Any]:
        """A copy of what the API shows of a feature, vectors apart."""
        with self._library.lock:
            return dict(self._library.features[feature_id].fields)

    def edit_metadata(self, asset_id: str, metadata: Mapping[str, Any], *, touch: bool = True) -> None:
        """Set some metadata of an asset; what is not named stays."""
        with self._library.lock:
            asset = self._library.assets[asset_id]
            add_metadata(asset.fields, metadata)
            self._changed(asset, touch)

    def put_asset(self, asset: Mapping[str, Any], features: Sequence[Mapping[str, Any]] = ()) -> None:
        """Add an asset with its features, or replace the one with the same id.

        `asset` needs `asset_id` and `collection_id`; what else is left out gets a plain value. A feature needs
        `feature_id`; its `vectors` map a name to a raw value, and without them they are made from its words.
        """
        with self._library.lock:
            stored = StoredAsset(asset["asset_id"], asset["collection_id"], {**_plain_asset(), **asset})
            stored.features = {one["feature_id"]: _stored(stored, one) for one in features}
            if stored.asset_id in self._library.assets and "updated_at" not in asset:
                stored.fields["updated_at"] = self._library.assets[stored.asset_id].fields.get("updated_at")
            self._library.add(stored)
            self._changed(stored, "updated_at" not in asset)

    def remove_asset(self, asset_id: str) -> None:
        """Delete an asset with its features."""
        with self._library.lock:
            if not self._library.remove(asset_id):
                raise KeyError(asset_id)

    def put_feature(self, asset_id: str, feature: Mapping[str, Any], *, touch: bool = True) -> None:
        """Add a feature to an asset, or replace the one with the same id; as in `put_asset`."""
        with self._library.lock:
            asset = self._library.assets[asset_id]
            self._library.add_feature(_stored(asset, feature))
            self._changed(asset, touch)

    def remove_feature(self, feature_id: str, *, touch: bool = True) -> None:
        """Delete a feature."""
        with self._library.lock:
            asset = self._library.assets[self._library.features[feature_id].asset_id]
            self._library.remove_feature(feature_id)
            self._changed(asset, touch)

    def put_vector(self, feature_id: str, name: str, value: Any, *, touch: bool = True) -> None:
        """Serve a raw value as this vector of a feature."""
        with self._library.lock:
            feature = self._library.features[feature_id]
            feature.vectors[name] = RawVector(raw_json(value))
            self._changed(self._library.assets[feature.asset_id], touch)

    def remove_vector(self, feature_id: str, name: str, *, touch: bool = True) -> None:
        """Serve a feature without this vector."""
        with self._library.lock:
            feature = self._library.features[feature_id]
            del feature.vectors[name]
            self._changed(self._library.assets[feature.asset_id], touch)

    def put_asset_field(self, asset_id: str, field: str, value: Any, *, touch: bool = True) -> None:
        """Serve a raw value as this field of an asset."""
        with self._library.lock:
            asset = self._library.assets[asset_id]
            asset.fields[field] = raw_value(value)
            self._changed(asset, touch and field != "updated_at")

    def put_feature_field(self, feature_id: str, field: str, value: Any, *, touch: bool = True) -> None:
        """Serve a raw value as this field of a feature."""
        with self._library.lock:
            feature = self._library.features[feature_id]
            feature.fields[field] = raw_value(value)
            self._changed(self._library.assets[feature.asset_id], touch)

    def _changed(self, asset: StoredAsset, touch: bool) -> None:
        if touch:
            bump(asset)


def _plain_asset() -> dict[str, Any]:
    return {
        "status": "DONE",
        "url": None,
        "metadata": {},
        "error": None,
        "modality": "text",
        "updated_at": "2024-11-08T09:00:00.000000",
        "created_at": "2024-11-08T09:00:00.000000",
        "score": None,
    }


def _stored(asset: StoredAsset, feature: Mapping[str, Any]) -> StoredFeature:
    plain = {
        "modality": asset.fields["modality"],
        "asset_id": asset.asset_id,
        "collection_id": asset.collection_id,
        "metadata": {},
        "created_at": "2024-11-08T09:00:00.000000Z",
    }
    fields = {**plain, **{name: value for name, value in feature.items() if name != "vectors"}}
    return StoredFeature(feature["feature_id"], asset.asset_id, fields, _vectors(feature))


def _vectors(feature: Mapping[str, Any]) -> dict[str, VectorSource]:
    if "vectors" in feature:
        return {name: RawVector(raw_json(value)) for name, value in feature["vectors"].items()}
    words = (feature.get(name) for name in ("text", "transcription", "description"))
    return {"multimodal-v1": TextVector(" ".join(word for word in words if isinstance(word, str)), "multimodal-v1")}


# The edits of `MixpeekEditor` over HTTP, under ``/_sandbox/mixpeek``.


_ASSET = "/_sandbox/mixpeek/assets/{asset_id}"


_FEATURE = "/_sandbox/mixpeek/features/{feature_id}"


def editor_routes(editor: MixpeekEditor) -> list[Route]:
    """One route per edit. Bodies are JSON, but those of vectors and fields are served as they came, valid or not.

    ``?touch=false`` leaves the asset's `updated_at` alone.
    """
    edits: dict[tuple[str, str], Edit] = {
        ("PATCH", f"{_ASSET}/metadata"): lambda r: editor.edit_metadata(r.params[0], json_object(r), touch=touches(r)),
        ("PUT", _ASSET): lambda r: _put_asset(editor, r),
        ("DELETE", _ASSET): lambda r: editor.remove_asset(*r.params),
        ("PUT", f"{_ASSET}/fields/{{name}}"): lambda r: editor.put_asset_field(*raw_field(r), touch=touches(r)),
        ("PUT", f"{_ASSET}/features/{{feature_id}}"): lambda r: _put_feature(editor, r),
        ("DELETE", _FEATURE): lambda r: editor.remove_feature(*r.params, touch=touches(r)),
        ("PUT", f"{_FEATURE}/fields/{{name}}"): lambda r: editor.put_feature_field(*raw_field(r), touch=touches(r)),
        ("PUT", f"{_FEATURE}/vectors/{{name}}"): lambda r: editor.put_vector(*raw_field(r), touch=touches(r)),
        ("DELETE", f"{_FEATURE}/vectors/{{name}}"): lambda r: editor.remove_vector(*pair(r), touch=touches(r)),
    }
    return edit_routes(edits)


def _put_asset(editor: MixpeekEditor, request: Request) -> None:
    body = json_object(request)
    asset = {**body.get("asset", {}), "asset_id": request.params[0]}
    editor.put_asset(asset, body.get("features", ()))


def _put_feature(editor: MixpeekEditor, request: Request) -> None:
    asset_id, feature_id = pair(request)
    editor.put_feature(asset_id, {**json_object(request), "feature_id": feature_id}, touch=touches(request))
