"""TwelveLabs, as the tests of faults use it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from vectorferry.connector.sandbox import (
    DropField,
    DuplicateRows,
    GeneratedIndexes,
    OnePageLess,
    Sandbox,
    SandboxSettings,
    SetField,
    ShiftRows,
    Shorten,
    TwelveLabsEditor,
    Vanish,
)

from .media import PARTS, VERSIONS, Content, Part, Service, asset_name, words

__all__ = ["TWELVELABS"]

INDEX: Final = "ad5000000000000000000000"
LIST: Final = "twelvelabs.indexed_assets.list"
READ: Final = "twelvelabs.indexed_assets.get"
COLLECTIONS: Final = "twelvelabs.entity_collections.list"
ENTITIES: Final = "twelvelabs.entities.list"


class TwelveLabs(Service):
    """All of an asset comes in one answer; entities are listed after the assets."""

    name = "twelvelabs"
    collection = INDEX
    listing = LIST
    reading = (READ, ENTITIES)
    wrong = (
        ("ids of the wrong type", SetField(field="_id", value=[1]), (LIST, READ, ENTITIES, COLLECTIONS)),
        ("segments of the wrong type", SetField(field="segments", value="none"), (READ,)),
        ("vectors of the wrong type", SetField(field="float", value=7), (READ,)),
        ("numbers that are text", SetField(field="float", value=["one", "two"]), (READ,)),
        ("spoken words of the wrong type", SetField(field="transcription", value={"start": 0}), (READ,)),
        ("ids missing", DropField(field="_id"), (LIST, READ, ENTITIES)),
        ("vectors missing", DropField(field="float"), (READ,)),
        ("options missing", DropField(field="embedding_option"), (READ,)),
        ("embeddings missing", DropField(field="embedding"), (READ,)),
        ("rows missing", DropField(field="data"), (LIST, ENTITIES, COLLECTIONS)),
        ("counts missing", DropField(field="page_info"), (LIST, ENTITIES)),
        ("another count", SetField(field="total_results", value=3), (LIST, ENTITIES, COLLECTIONS)),
        ("an id twice", DuplicateRows(), (LIST, READ, ENTITIES)),
        ("rows shifted back", ShiftRows(rows=1), (LIST, ENTITIES)),
        ("rows shifted forward", ShiftRows(rows=-1), (LIST, ENTITIES)),
        ("an asset vanishes", Vanish(), (READ,)),
    )
    plausible = (
        ("no segment", SetField(field="segments", value=[]), (READ,)),
        ("fewer segments", Shorten(field="segments"), (READ,)),
        ("another option only", SetField(field="embedding_option", value="visual"), (READ,)),
        ("nothing spoken", SetField(field="transcription", value=[]), (READ,)),
        ("null for what is spoken", SetField(field="transcription", value=None), (READ,)),
        ("what is spoken missing", DropField(field="transcription"), (READ,)),
        ("less spoken", Shorten(field="transcription"), (READ,)),
        ("shorter vectors", Shorten(field="float"), (READ,)),
        ("other numbers", SetField(field="float", value=[9, 9, 9, 9]), (READ,)),
        ("other metadata", SetField(field="user_metadata", value={}), (READ,)),
        ("no row", SetField(field="data", value=[]), (LIST, ENTITIES, COLLECTIONS)),
        ("fewer rows", Shorten(field="data"), (LIST, ENTITIES, COLLECTIONS)),
        ("one page less", OnePageLess(), (LIST, ENTITIES, COLLECTIONS)),
    )

    def serve(self, sandbox: Sandbox, content: Content) -> None:
        """Let the source hold this, and nothing else: an entity for each asset, too."""
        account = sandbox.twelvelabs
        if INDEX not in account.index_ids():
            account.put_index("ads", INDEX, dimension=4)
        wanted = {_asset_id(number) for number in content}
        for asset_id in set(account.asset_ids(INDEX)) - wanted:
            account.remove_asset(asset_id)
        for number, version in content.items():
            _put(account, number, version)
        _put_people(account, content)

    def source(self, url: str, api_key: str) -> dict[str, Any]:
        """Settings of a source that reads nothing again for its age: that would be a change by itself."""
        return {"type": "twelvelabs", "base_url": f"{url}/v1.3", "api_key": api_key, "reread_days": None}

    def generated(self, assets: int, features: int) -> SandboxSettings:
        """Videos with one option, so that each segment is one feature with one vector."""
        indexes = GeneratedIndexes(
            assets=assets,
            segments_per_asset=features,
            options=("visual",),
            dimension=256,
            indexes=("ads", "films"),
        )
        return SandboxSettings(generate_twelvelabs=indexes)


def _put(account: TwelveLabsEditor, number: int, version: int) -> None:
    asset = {
        "asset_id": _asset_id(number),
        "upload_id": f"{number:024x}",
        "filename": f"{asset_name(number)}.mp4",
        "duration": 60.0,
        "user_metadata": {"version": version},
        "segments": [one for part in VERSIONS[version] for one in _segments(number, part)],
        "transcription": [one for part in VERSIONS[version] for one in _spoken(part)],
    }
    account.put_asset(INDEX, asset)
    for field in ("created_at", "updated_at", "indexed_at"):
        account.put_field(_asset_id(number), field, _time(version), touch=False)


def _put_people(account: TwelveLabsEditor, content: Content) -> None:
    people, held = min(account.entity_ids().items())
    wanted = {_asset_id(number) for number in content}
    for entity_id in set(held) - wanted:
        account.remove_entity(entity_id)
    for number, version in content.items():
        when = datetime(2025, 1, version + 1, tzinfo=UTC)
        known = {"description": f"version {version}", "created_at": when, "updated_at": when}
        account.put_entity(people, asset_name(number), _asset_id(number), asset_ids=(f"{number:024x}",), **known)


def _segments(number: int, part: Part) -> Iterator[dict[str, Any]]:
    """The part as it looks and as it sounds: two features with a vector each."""
    start = 10 * PARTS.index(part["part"])
    for place, option in enumerate(("visual", "audio")):
        numbers = [part.get("value", 0.5), float(number), float(place), 2.0]
        yield {"start": start, "end": start + 7.5, "option": option, "float": numbers}


def _spoken(part: Part) -> Iterator[dict[str, Any]]:
    """What is said in it: a feature without a vector, and a column of the two others."""
    start = 10 * PARTS.index(part["part"])
    for said in words(part).values():
        yield {"start": start + 1, "end": start + 5, "value": said}


def _asset_id(number: int) -> str:
    return f"{asset_name(number)}".ljust(24, "0")


def _time(version: int) -> str:
    return f"2025-01-0{version + 1}T00:00:00.000Z"


TWELVELABS: Final = TwelveLabs()
