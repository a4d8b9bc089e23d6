"""Text that no store can hold: NUL, and halves of UTF-16 pairs. Replaced, counted, never dropped in silence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

__all__ = ["clean", "clean_text"]

# PostgreSQL refuses NUL in text and jsonb alike; a lone surrogate cannot be written as UTF-8 at all.
UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT: Final = "\ufffd"


def clean_text(text: str) -> tuple[str, int]:
    """The text with U+FFFD in place of each unstorable character, and how many there were."""
    return UNSTORABLE.subn(REPLACEMENT, text)


def clean(value: Any) -> tuple[Any, int]:
    """A JSON value with U+FFFD in place of each unstorable character in values and keys, and how many there were.

    The value itself comes back when there is nothing to replace, which serialising it once tells far faster than
    a walk. Raises `RecursionError` where it is nested too deeply to walk.
    """
    return _walk(value) if _suspect(value) else (value, 0)


def _suspect(value: Any) -> bool:
    try:
        return b"\\u0000" in orjson.dumps(value)
    except TypeError:  # a lone surrogate is one of its causes
        return True


def _walk(value: Any) -> tuple[Any, int]:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, Mapping):
        return _walk_object(value)
    if isinstance(value, list | tuple):
        items = [_walk(item) for item in value]
        return [item for item, _ in items], sum(count for _, count in items)
    return value, 0


def _walk_object(value: Mapping[Any, Any]) -> tuple[dict[Any, Any], int]:
    cleaned: dict[Any, Any] = {}
    total = 0
    for key, item in value.items():
        key, in_key = _walk(key) if isinstance(key, str) else (key, 0)  # noqa: PLW2901
        cleaned[key], in_item = _walk(item)
        total += in_key + in_item
    return cleaned, total
