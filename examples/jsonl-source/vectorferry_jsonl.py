"""A source of Vectorferry: a folder of JSON Lines files. Each file is a collection, each line an asset.

{"id": "cat", "modality": "image", "description": "a cat on a wall", "vectors": {"clip": [0.1, 0.2]}}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from vectorferry.connector.plugin import (
    Asset,
    ConfigurationError,
    Feature,
    IncompleteScanError,
    Listing,
    PathFromFile,
    Reason,
    Rejected,
    Source,
    SourceSettings,
    Usage,
    Vector,
)

__all__ = ["JsonLinesSettings", "JsonLinesSource"]


class JsonLinesSettings(SourceSettings):
    """What stands under `source` in a sync's file."""

    type: Literal["jsonl"] = "jsonl"
    folder: PathFromFile = Field(description="where the files are; a relative path begins at the sync's file")
    collections: tuple[str, ...] = Field(default=(), description="names of files without .jsonl; none: all")

    def open(self) -> JsonLinesSource:
        """A source with these settings. Nothing is read yet."""
        return JsonLinesSource(self.folder, self.collections)


class JsonLinesSource(Source):
    """Reads the files anew whenever it is asked. A request is a file that is read."""

    def __init__(self, folder: Path, collections: Sequence[str] = ()) -> None:
        self._folder = folder
        self._named = tuple(collections)
        self._not_found: dict[str, str] = {}
        self._usage = Usage()

    @property
    def usage(self) -> Usage:
        """Files and bytes read so far."""
        return self._usage

    async def collections(self) -> Sequence[str]:
        """The names of the files. Raises `ConfigurationError` when none of the configured ones is there."""
        there = sorted(path.stem for path in self._folder.glob("*.jsonl"))
        self._not_found = {
            name: f"source.collections: {self._folder} has no {name}.jsonl" for name in self._named if name not in there
        }
        if self._named and len(self._not_found) == len(self._named):
            raise ConfigurationError(next(iter(self._not_found.values())))
        return [name for name in there if not self._named or name in self._named]

    @property
    def not_found(self) -> Mapping[str, str]:
        """Configured collections that are not there, each with why: the others are synced."""
        return self._not_found

    def is_gone(self, collection: str) -> bool:
        """Whether a file that was synced once is no longer there."""
        return not self._named or collection in self._not_found

    async def identity(self, collection: str) -> Mapping[str, str]:  # noqa: ARG002
        """Another folder is another source: what it lacks is not gone."""
        return {"source": "jsonl", "folder": str(self._folder.resolve())}

    async def scan(self, collection: str) -> AsyncIterator[Listing]:
        """List every line. A line that cannot be read hides an asset, so the listing is not complete then."""
        unreadable = []
        for number, line in self._lines(collection):
            if isinstance(asset_id := _object(line).get("id"), str):
                yield Listing(asset_id, _fingerprint(line))
            else:
                unreadable.append(number)
        if unreadable:
            raise IncompleteScanError(
                f"{collection}.jsonl: line {unreadable[0]} is no JSON object with an `id`, so nothing is deleted"
            )

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset | Rejected]:
        """Read these assets. One whose line has gone meanwhile is left out."""
        lines = {_object(line).get("id"): line for _, line in self._lines(collection)}
        async for listing in listings:
            if line := lines.get(listing.asset_id):
                yield _asset(listing.asset_id, line)

    async def aclose(self) -> None:
        """Nothing to release."""

    def _lines(self, collection: str) -> Iterator[tuple[int, bytes]]:
        content = (self._folder / f"{collection}.jsonl").read_bytes()
        self._usage.requests += 1
        self._usage.bytes += len(content)
        return ((number, line) for number, line in enumerate(content.splitlines(), start=1) if line.strip())


def _object(line: bytes) -> dict[str, Any]:
    """The line as a JSON object, an empty one where it is none: what comes from outside is never trusted."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _fingerprint(line: bytes) -> str:
    """Changes whenever the asset may have changed."""
    return hashlib.sha256(line).hexdigest()


def _asset(asset_id: str, line: bytes) -> Asset:
    """An asset with one feature, which has the asset's id. What it says besides becomes fields of the feature."""
    fields = _object(line)
    modality, vectors = str(fields.pop("modality", "")), fields.pop("vectors", {})
    good: dict[str, Vector] = {}
    bad = []
    for name, numbers in vectors.items() if isinstance(vectors, dict) else ():
        try:
            good[name] = np.asarray(numbers, dtype=np.float32).reshape(-1)
        except (TypeError, ValueError):
            detail = f"vector {name} is no list of numbers"
            bad.append(Rejected(asset_id, Reason.MALFORMED, detail, asset_id, modality, vector_name=name))
    feature = Feature(asset_id, modality, fields, good)
    return Asset(asset_id, _fingerprint(line), modality=modality, features=(feature,), rejected=tuple(bad))
