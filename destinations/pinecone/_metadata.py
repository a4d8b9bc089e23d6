"""A feature as the metadata of its records: flat, and within Pinecone's limits. Pure.

Values are strings, numbers (float64), booleans and lists of strings; nothing nested, no null, no key that begins with
``$``, 40 KB in all (https://docs.pinecone.io/guides/index-data/indexing-overview#metadata).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TypeAlias

import orjson
from pydantic import Field, field_validator

from vectorferry.connector.plugin import MappedAsset, MappedFeature, QuarantineError, Reason, Settings, canonical_json

LARGEST_METADATA: Final = 40_000
"""Bytes of compact JSON. The documents say 40 KB; this is within it, whichever KB is meant."""

SHORTENED: Final = "shortened"
MetadataValue: TypeAlias = str | float | int | bool | list[str]
Metadata: TypeAlias = dict[str, MetadataValue]
_Path: TypeAlias = tuple[str, ...]
_Leaf: TypeAlias = tuple[_Path, str, MetadataValue]
"""The path of the object that a value is in, its key there, and the value."""

_NUMBERS: Final = frozenset({float, int, bool})
_USUAL_LEAVES: Final = 100
"""The keys of features with more values are not remembered: they could take much memory."""

_ALWAYS: Final = frozenset({"collection", "asset_id", "feature_id", "modality"})
_OWN: Final = _ALWAYS | {"url", SHORTENED}

_EXACT: Final = 2**53
"""Up to here every integer is a float64."""


class MetadataOptions(Settings):
    """What of a feature is not sent to Pinecone, or not in full."""

    shorten: tuple[str, ...] = Field(
        default=("transcription", "text", "description", "caption"),
        description="keys whose text is cut where a record would be too large",
    )
    leave_out: tuple[str, ...] = Field(
        default=(), description="keys that are not sent, each with all keys below it: metadata.raw"
    )

    @field_validator("shorten", "leave_out")
    @classmethod
    def _identity_is_kept(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        if kept := sorted(_ALWAYS & set(keys)):
            raise ValueError(f"{', '.join(kept)}: always sent in full, since records are found by it; take it out")
        return keys


def record_metadata(
    collection: str,
    asset: MappedAsset,
    feature: MappedFeature,
    options: MetadataOptions,
    earlier: Mapping[str, MetadataValue] | None = None,
) -> Metadata:
    """The metadata of a feature's records, at most 40,000 bytes as compact JSON; the same in each index.

    Holds ``collection``, ``asset_id``, ``feature_id``, ``modality``, ``url`` (the asset's), each mapped column under
    its name and the feature's metadata below ``metadata.``; `extra` is not sent. Objects become dotted keys; where two
    paths give the same key, the more nested one keeps it and the other is called ``key~2``. A time is ISO 8601 text
    in UTC, and its ``.epoch`` the seconds since 1970, which filters can compare. What no number of Pinecone's can
    hold, and a list of other things than strings, becomes text. `earlier` keys are added as they are (`column_keys`).

    Raises `QuarantineError` with `Reason.TOO_LARGE` when shortening the texts of `options.shorten` is not enough.
    """
    metadata: Metadata = {
        "collection": collection,
        "asset_id": asset.asset_id,
        "feature_id": feature.feature_id,
        "modality": feature.modality.value,
    }
    if asset.url and "url" not in options.leave_out:
        metadata["url"] = asset.url
    values, paths, names = _sent({**feature.columns, "metadata": feature.metadata}, options.leave_out)
    keys = _keys if len(values) <= _USUAL_LEAVES else _keys.__wrapped__
    for position, key in keys(tuple(paths), tuple(names)):
        metadata[key] = values[position]
    if earlier:
        left_out = _beginnings(options.leave_out)
        more = {key: value for key, value in earlier.items() if not f"{key}.".startswith(left_out)}
        metadata = {**more, **metadata}
    return fitted(metadata, options.shorten)


def column_keys(metadata: Mapping[str, Any], column: str) -> Metadata:
    """The keys that stand for the value of a column in the metadata of a record."""
    return {key: value for key, value in metadata.items() if key == column or key.startswith(f"{column}.")}


def metadata_hash(metadata: Mapping[str, Any]) -> bytes:
    """16 bytes; the same for metadata as it was sent and as Pinecone gives it back, with every number a float64."""
    plain = {key: value if type(value) is str else _as_stored(value) for key, value in metadata.items()}
    return hashlib.blake2b(canonical_json(plain), digest_size=16).digest()


def keys_hash(metadata: Mapping[str, Any]) -> bytes:
    """8 bytes that change with the set of keys."""
    return _hash_of_keys(*sorted(metadata))


@lru_cache(maxsize=64)  # most features have the same
def _hash_of_keys(*keys: str) -> bytes:
    return hashlib.blake2b(canonical_json(keys), digest_size=8).digest()


def plain_value(value: Any) -> MetadataValue:
    """What stands in the metadata for a value that is neither an object, a time nor None."""
    match value:
        case list() | tuple():
            return _listed(value)
        case int() if abs(value) > _EXACT:
            return str(value)
        case float() if not math.isfinite(value):
            return json.dumps(value)
    plain: MetadataValue = value
    return plain


def _leaves(fields: Mapping[str, Any]) -> Iterator[_Leaf]:
    """Everything that is no object. Without recursion: metadata may be nested deeply."""
    waiting: list[tuple[_Path, Mapping[str, Any]]] = [((), fields)]
    while waiting:
        path, values = waiting.pop()
        for key, value in values.items():
            if value is None:
                continue
            kind = type(value)
            if kind is str:  # as most are
                yield path, key, value
            elif kind in _NUMBERS:  # to look for an abstract class takes longer
                yield path, key, plain_value(value)
            elif isinstance(value, Mapping):
                waiting.append(((*path, key), value))
            elif isinstance(value, datetime):
                yield path, key, value.astimezone(UTC).isoformat()
                yield (*path, key), "epoch", value.timestamp()
            else:
                yield path, key, plain_value(value)


def _listed(items: Iterable[Any]) -> MetadataValue:
    """A list of strings; with anything nested in it, the list as JSON text."""
    present = [item for item in items if item is not None]
    if any(isinstance(item, Mapping | list | tuple) for item in present):
        return canonical_json(items).decode()
    return [item if isinstance(item, str) else json.dumps(item) for item in present]


def _sent(fields: Mapping[str, Any], left_out: Sequence[str]) -> tuple[list[MetadataValue], list[_Path], list[str]]:
    """The values that are sent, with the path of the object that each is in, and its key there. Keys are never
    shortened, so that too many of them end the walk: memory is bounded."""
    prefixes = _beginnings(left_out) if left_out else ()
    values: list[MetadataValue] = []
    paths: list[_Path] = []
    names: list[str] = []
    size = 0
    for path, name, value in _leaves(fields):
        key = ".".join((*path, name)) if path else name
        if prefixes and f"{key}.".startswith(prefixes):
            continue
        size += len(key)
        if size > LARGEST_METADATA:
            detail = f"the keys of its metadata alone have more than the {LARGEST_METADATA:,} bytes that Pinecone takes"
            raise QuarantineError(Reason.TOO_LARGE, f"{detail}: name some under `metadata.leave_out`")
        values.append(value)
        paths.append(path)
        names.append(name)
    return values, paths, names


@lru_cache(maxsize=64)  # most features have the same
def _keys(paths: Sequence[_Path], names: Sequence[str]) -> Sequence[tuple[int, str]]:
    """The keys of values that are in these objects under these names, each with the position of its value, in an order
    that does not depend on the order in which they came."""
    keys: dict[str, int] = {}
    places = [(*path, name) for path, name in zip(paths, names, strict=True)]
    for position in sorted(range(len(places)), key=lambda each: (-len(places[each]), places[each])):
        keys[_free(".".join(places[position]), keys)] = position
    return [(position, key) for key, position in keys.items()]


def _beginnings(left_out: Iterable[str]) -> tuple[str, ...]:
    """What the keys that are not sent begin with, each with a dot behind it."""
    return tuple(f"{key}." for key in left_out)


def _free(key: str, others: Container[str]) -> str:
    """The key itself unless another has it, or Vectorferry uses it."""
    name, number = key, 1
    while name in others or name in _OWN:
        number += 1
        name = f"{key}~{number}"
    return name


def _as_stored(value: Any) -> Any:
    """Adding zero makes -0.0 and 0.0 the same, whichever of the two comes back."""
    return float(value) + 0.0 if isinstance(value, int | float) and not isinstance(value, bool) else value


def fitted(metadata: dict[str, Any], shorten: Iterable[str]) -> dict[str, Any]:
    """The metadata itself where it fits.

    Else with the longest texts under the keys `shorten` cut to a common length, just enough, and their keys listed
    under ``shortened``. Raises `QuarantineError` with `Reason.TOO_LARGE` where that is not enough.
    """
    if _size(metadata) <= LARGEST_METADATA:
        return metadata
    texts = {key: _text_size(metadata[key]) for key in shorten if isinstance(metadata.get(key), str)}
    fixed = _size({**metadata, **dict.fromkeys(texts, ""), SHORTENED: list(texts)})
    if fixed > LARGEST_METADATA:
        raise _too_large(metadata)
    longest = _common_length(sorted(texts.values()), LARGEST_METADATA - fixed)
    cut = {key: _cut(metadata[key], longest) for key, size in texts.items() if size > longest}
    return {**metadata, **cut, SHORTENED: sorted(cut)}


def _common_length(sizes: Sequence[int], room: int) -> int:
    """What the sizes, ascending and more than `room` together, may be at most to be no more than that."""
    for number, size in enumerate(sizes):
        share = room // (len(sizes) - number)
        if size > share:
            break
        room -= size
    return share


def _cut(text: str, room: int) -> str:
    """The longest beginning that has at most `room` bytes as JSON."""
    fits, too_long = 0, min(len(text), room + 1)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if _text_size(text[:middle]) <= room:
            fits = middle
        else:
            too_long = middle
    return text[:fits]


def _size(value: Any) -> int:
    return len(orjson.dumps(value))


def _text_size(text: str) -> int:
    return _size(text) - len('""')


def _too_large(metadata: Mapping[str, Any]) -> QuarantineError:
    sizes = {key: _size(value) for key, value in metadata.items()}
    first, *others = sorted(sizes, key=lambda key: (-sizes[key], key))[:3]
    worth_naming = [first, *(key for key in others if sizes[key] > sizes[first] / 10)]
    shown = ", ".join(f"{key[:40]} ({sizes[key]:,})" for key in worth_naming)
    return QuarantineError(
        Reason.TOO_LARGE,
        f"its metadata has {_size(metadata):,} bytes and Pinecone takes {LARGEST_METADATA:,}; the largest are "
        f"{shown}: name them under `metadata.shorten` or `metadata.leave_out`",
    )
