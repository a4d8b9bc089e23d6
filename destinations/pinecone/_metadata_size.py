"""Metadata that fits: long texts are cut just enough. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from vectorferry.connector import QuarantineError, Reason

__all__ = ["LARGEST_METADATA", "SHORTENED", "fitted"]

LARGEST_METADATA: Final = 40_000
"""Bytes of compact JSON. The documents say 40 KB; this is within it, whichever KB is meant."""

SHORTENED: Final = "shortened"


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
