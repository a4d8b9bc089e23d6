"""The answers for one asset: ``{asset, features: {video, image, text, audio}}`` since November 2024, and before that
``{video_segments: [...]}``; either with or without pagination. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vectorferry.connector._json import parse_json
from vectorferry.connector._records import Asset, Feature, Listing, Rejected
from vectorferry.connector.sources._pages import Page, count_in
from vectorferry.connector.sources._signed import is_signed
from vectorferry.connector.sources._times import read_time
from vectorferry.connector.sources.mixpeek._pages import pagination_in

__all__ = ["AssetReply", "asset_from", "read_asset", "read_asset_reply", "read_object"]

CONTENTS: Final = frozenset({"asset", "features", "video_segments", "pagination"})
NAMED: Final = frozenset({"asset_id", "collection_id", "modality", "url", "preview_url", "score", "status", "metadata"})
TIMES: Final = ("created_at", "updated_at")


@dataclass(frozen=True, slots=True)
class AssetReply:
    """One page of an asset's answer; without pagination it is the only one.

    `description` is what it says of the asset itself, None when nothing. The page's rows are features as they came,
    each with the modality that its place implies. `page_size` is the service's own.
    """

    description: Mapping[str, Any] | None
    page: Page
    page_size: int | None


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises `ValueError` for anything else."""
    answer = parse_json(body)
    if not isinstance(answer, dict):
        raise ValueError("not a JSON object")
    return answer


def read_asset(body: bytes) -> dict[str, Any]:
    """What an asset's own answer says of it. Raises `ValueError` when it does not say which asset that is."""
    answer = read_object(body)
    if not isinstance(answer.get("asset_id"), str):
        raise ValueError("no asset_id")
    return answer


def read_asset_reply(body: bytes) -> AssetReply:
    """An asset's answer, or a page of it. Raises `ValueError` when it lists no features in either form."""
    answer = read_object(body)
    pagination = pagination_in(answer)
    total_pages = count_in(pagination, "total_pages") if pagination else 1
    page = Page(list(_rows(answer)), count_in(pagination, "total"), total_pages)
    return AssetReply(_description(answer), page, count_in(pagination, "page_size"))


def asset_from(
    listing: Listing, description: Mapping[str, Any], features: list[Feature], rejected: list[Rejected]
) -> Asset:
    """The record of an asset. Addresses that stop working after a while are left out."""
    metadata = description.get("metadata")
    url = description.get("url")
    return Asset(
        asset_id=listing.asset_id,
        fingerprint=listing.fingerprint,
        modality=_text(description, "modality"),
        url=url if isinstance(url, str) and not is_signed(url) else None,
        status=_text(description, "status"),
        metadata=metadata if isinstance(metadata, dict) else {},
        created_at=read_time(description.get("created_at")),
        updated_at=read_time(description.get("updated_at")),
        fields=dict(_other_fields(description)),
        features=tuple(features),
        rejected=tuple(rejected),
    )


def _description(answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The October form has no `asset`: what it says of the asset stands beside the segments."""
    asset = answer.get("asset")
    if isinstance(asset, dict):
        return asset
    return {key: value for key, value in answer.items() if key not in CONTENTS} or None


def _rows(answer: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    features, segments = answer.get("features"), answer.get("video_segments")
    if not isinstance(features, dict) and not isinstance(segments, list):
        raise ValueError("neither features nor video_segments")
    groups = {**(features or {}), **({"video": segments} if segments else {})}
    for modality, rows in groups.items():
        if not isinstance(rows, list | None):
            raise ValueError(f"the {modality} features are not a list")
        yield from ((modality, row) for row in rows or ())


def _other_fields(description: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Everything that has no place of its own, and what could not be read there."""
    for key, value in description.items():
        if key in TIMES:
            kept = value is not None and read_time(value) is None
        elif key == "metadata":
            kept = not isinstance(value, dict | None)
        elif key == "modality":
            kept = not isinstance(value, str | None)
        else:
            kept = key not in NAMED
        if kept:
            yield key, value


def _text(description: Mapping[str, Any], key: str) -> str | None:
    value = description.get(key)
    return value if isinstance(value, str) else None
