"""Mixpeek, as the tests of faults use it."""

from __future__ import annotations

from typing import Any, Final

from vectorferry.connector.sandbox import (
    DropField,
    DuplicateRows,
    GeneratedCatalogue,
    OnePageLess,
    Sandbox,
    SandboxSettings,
    SetField,
    ShiftRows,
    Shorten,
    Vanish,
)

from .media import VERSIONS, Content, Part, Service, asset_name, words

__all__ = ["COLLECTION", "MIXPEEK", "serve"]

COLLECTION: Final = "ads"

LIST: Final = "assets.list"
READ: Final = "assets.features"
VECTORS: Final = "features.get"


class Mixpeek(Service):
    """Features are listed per asset, and their vectors are read one by one."""

    name = "mixpeek"
    collection = COLLECTION
    listing = LIST
    reading = (READ, VECTORS)
    wrong = (
        ("ids of the wrong type", SetField(field="asset_id", value=[1]), (LIST, READ, VECTORS)),
        ("features of the wrong type", SetField(field="features", value="none"), (READ,)),
        ("vectors of the wrong type", SetField(field="vectors", value=7), (VECTORS,)),
        ("numbers that are text", SetField(field="multimodal-v1", value=["one", "two"]), (VECTORS,)),
        ("ids missing", DropField(field="asset_id"), (LIST, READ, VECTORS)),
        ("feature ids missing", DropField(field="feature_id"), (READ, VECTORS)),
        ("rows missing", DropField(field="results"), (LIST,)),
        ("an id twice", DuplicateRows(), (LIST, READ)),
        ("rows shifted back", ShiftRows(rows=1), (LIST,)),
        ("rows shifted forward", ShiftRows(rows=-1), (LIST,)),
        ("an asset vanishes", Vanish(), (READ, VECTORS)),
    )
    plausible = (
        ("no feature", SetField(field="features", value={"video": [], "image": [], "text": [], "audio": []}), (READ,)),
        ("features of no modality", SetField(field="features", value={}), (READ,)),
        ("a modality missing", DropField(field="text"), (READ,)),
        ("null for a modality", SetField(field="text", value=None), (READ,)),
        ("fewer features", Shorten(field="text"), (READ,)),
        ("no vector", SetField(field="vectors", value={}), (VECTORS,)),
        ("null for vectors", SetField(field="vectors", value=None), (VECTORS,)),
        ("a named vector missing", DropField(field="words"), (VECTORS,)),
        ("fewer vectors", Shorten(field="vectors"), (VECTORS,)),
        ("shorter vectors", Shorten(field="multimodal-v1"), (VECTORS,)),
        ("other numbers", SetField(field="multimodal-v1", value=[9, 9, 9, 9]), (VECTORS,)),
        ("other words", SetField(field="transcription", value="nonsense"), (READ, VECTORS)),
        ("other metadata", SetField(field="metadata", value={}), (READ, VECTORS)),
        ("no row", SetField(field="results", value=[]), (LIST,)),
        ("fewer rows", Shorten(field="results"), (LIST,)),
        ("one page less", OnePageLess(), (LIST,)),
    )

    def serve(self, sandbox: Sandbox, content: Content) -> None:
        """Let the source hold this, and nothing else."""
        serve(sandbox, content)

    def source(self, url: str, api_key: str) -> dict[str, Any]:
        """Settings of a source."""
        return {"type": "mixpeek", "base_url": url, "api_key": api_key}

    def generated(self, assets: int, features: int) -> SandboxSettings:
        """Videos with one vector per feature."""
        catalogue = GeneratedCatalogue(
            assets=assets, features_per_asset=features, dimension=256, collections=("ads", "films")
        )
        return SandboxSettings(generate=catalogue)


def serve(sandbox: Sandbox, content: Content) -> None:
    """Let the source hold this, and nothing else."""
    for asset_id in sandbox.mixpeek.asset_ids(COLLECTION):
        if asset_id not in map(asset_name, content):
            sandbox.mixpeek.remove_asset(asset_id)
    for number, version in content.items():
        asset = {
            "asset_id": asset_name(number),
            "collection_id": COLLECTION,
            "updated_at": f"2025-01-0{version + 1}T00:00:00",
        }
        sandbox.mixpeek.put_asset(asset, [_feature(number, part) for part in VERSIONS[version]])


def _feature(number: int, part: Part) -> dict[str, Any]:
    name, value = part["part"], part.get("value", 0.5)
    dense = [value, float(number), 1.0, 2.0]
    sparse = {"indices": [number, 100 + len(name)], "values": [value, 1.0]}
    return {
        "feature_id": f"{asset_name(number)}-{name}",
        "vectors": {"multimodal-v1": dense, "words": sparse},
        "transcription": f"{name} of {number}",
        "metadata": words(part),
    }


MIXPEEK: Final = Mixpeek()
