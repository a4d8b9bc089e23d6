"""Media in versions, so that a test can change the source and change it back to what it was, times included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connector.sandbox import Sandbox

__all__ = ["ASSETS", "COLLECTION", "Content", "serve"]

COLLECTION: Final = "ads"
ASSETS: Final = 12

Content = Mapping[int, int]
"""Which assets there are, by number, and in which version."""


def serve(sandbox: Sandbox, content: Content) -> None:
    """Let the source hold this, and nothing else."""
    for asset_id in sandbox.mixpeek.asset_ids(COLLECTION):
        if asset_id not in map(_name, content):
            sandbox.mixpeek.remove_asset(asset_id)
    for number, version in content.items():
        asset = {
            "asset_id": _name(number),
            "collection_id": COLLECTION,
            "updated_at": f"2025-01-0{version + 1}T00:00:00",
        }
        sandbox.mixpeek.put_asset(asset, [_feature(number, **one) for one in _VERSIONS[version]])


_VERSIONS: Final[tuple[list[dict[str, Any]], ...]] = (
    [
        {"part": "same"},
        {"part": "retold", "author": "ada"},
        {"part": "untagged", "tag": "blue"},
        {"part": "redrawn", "value": 1.0},
        {"part": "dropped"},
    ],
    [
        {"part": "same"},
        {"part": "retold", "author": "grace"},
        {"part": "untagged"},
        {"part": "redrawn", "value": 2.0},
        {"part": "added"},
    ],
    [{"part": "same"}, {"part": "redrawn", "value": 3.0}],
)
"""The second leaves a record as it is, changes metadata, takes a key away, changes vectors, drops one and adds one; the
third drops some of both."""


def _name(number: int) -> str:
    return f"asset-{number:02}"


def _feature(number: int, part: str, value: float = 0.5, **metadata: str) -> dict[str, Any]:
    dense = [value, float(number), 1.0, 2.0]
    sparse = {"indices": [number, 100 + len(part)], "values": [value, 1.0]}
    return {
        "feature_id": f"{_name(number)}-{part}",
        "vectors": {"multimodal-v1": dense, "words": sparse},
        "transcription": f"{part} of {number}",
        "metadata": metadata,
    }
