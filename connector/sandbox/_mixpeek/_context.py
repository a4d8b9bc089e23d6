"""What every Mixpeek handler needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar

from vectorferry.connector.sandbox._http import RefusedError
from vectorferry.connector.sandbox._library import Library, StoredAsset, StoredCollection, StoredFeature
from vectorferry.connector.sandbox._settings import MixpeekDialect

__all__ = ["Context"]

Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class Context:
    """The media, and the dialect to show them in."""

    library: Library
    dialect: MixpeekDialect
    _signatures: count[int] = field(default_factory=count)

    def asset(self, asset_id: str) -> StoredAsset:
        """The asset of this id, or a 404."""
        return _found(self.library.assets.get(asset_id), "Asset", asset_id)

    def feature(self, feature_id: str) -> StoredFeature:
        """The feature of this id, or a 404."""
        return _found(self.library.features.get(feature_id), "Feature", feature_id)

    def collection(self, name: str) -> StoredCollection:
        """The collection of this id or name, or a 404."""
        return _found(next(iter(self.library.named([name])), None), "Collection", name)

    def show_asset(self, asset: StoredAsset, *, signed: bool = False) -> Mapping[str, Any]:
        """The asset's fields in this dialect."""
        return self._shown(asset.fields, ("created_at", "updated_at"), signed)

    def show_feature(self, feature: StoredFeature, *, signed: bool = False) -> Mapping[str, Any]:
        """The feature's fields in this dialect, without vectors."""
        return self._shown(feature.fields, (), signed)

    def _shown(self, fields: Mapping[str, Any], times: tuple[str, ...], signed: bool) -> Mapping[str, Any]:
        changed: dict[str, Any] = {}
        if self.dialect.timestamps == "zulu":
            changed = {name: f"{fields[name]}Z" for name in times if isinstance(fields.get(name), str)}
        if signed:
            addresses = {name: fields.get(name) for name in ("url", "preview_url")}
            changed |= {name: self._signed(url) for name, url in addresses.items() if isinstance(url, str)}
        return {**fields, **changed} if changed else fields

    def _signed(self, url: str) -> str:
        # Presigned addresses live for an hour and are new in every answer, which is what a reader must not store.
        until = datetime.now(UTC) + timedelta(hours=1)
        return (
            f"{url}?X-Amz-Expires=3600&X-Amz-Date={until:%Y%m%dT%H%M%SZ}&X-Amz-Signature={next(self._signatures):016x}"
        )


def _found(thing: Thing | None, what: str, name: str) -> Thing:
    if thing is None:
        raise RefusedError(404, f"{what} {name!r} not found")
    return thing
