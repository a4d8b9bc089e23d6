"""What an id, a name and a text must be before a store sees them: one rule for every command."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, Final

import orjson

from vectorferry.connector._model._errors import QuarantineError
from vectorferry.connector._model._records import Reason, Rejected

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


MAX_ID_BYTES: Final = 512  # the longest record id that Pinecone takes; also far below a btree entry's 2,704 bytes
MAX_NAME_BYTES: Final = 255
MAX_DETAIL: Final = 300


def id_problem(text: str, limit: int = MAX_ID_BYTES) -> str | None:
    """Why no destination could take this as an id, or None."""
    if not text:
        return "is empty"
    if UNSTORABLE.search(text):
        return "holds a NUL character or half of a surrogate pair"
    if len(text.encode()) > limit:
        return f"is longer than {limit} bytes"
    return None


def unusable_ids(ids: Sequence[str]) -> Set[str]:
    """Those of these that no destination could take as ids. A page of plain ones is looked at as a whole."""
    together = "".join(ids)
    if together.isascii() and "\0" not in together and all(ids) and max(map(len, ids), default=0) <= MAX_ID_BYTES:
        return frozenset()
    return {each for each in ids if id_problem(each)}


def check_id(text: str, what: str) -> None:
    """Raise `QuarantineError` with `Reason.BAD_ID` when `text` cannot be an id."""
    if problem := id_problem(text):
        raise QuarantineError(Reason.BAD_ID, f"the {what} id {problem}")


def check_name(name: str) -> None:
    """Raise `QuarantineError` with `Reason.BAD_NAME` when `name` cannot name a vector."""
    if problem := id_problem(name, MAX_NAME_BYTES):
        raise QuarantineError(Reason.BAD_NAME, f"the vector name {name[:80]!r} {problem}")


def safe_text(text: str, limit: int = MAX_DETAIL) -> str:
    """Storable text of at most `limit` characters."""
    text, _ = clean_text(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def safe_id(text: str) -> str:
    """The id itself where it is one; otherwise a storable stand-in that is the same each time."""
    if not text or id_problem(text) is None:
        return text
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{safe_text(text, 80)}#{digest}"


def safe_rejected(rejected: Rejected) -> Rejected:
    """The same record with storable, bounded texts: it goes into a destination's quarantine."""
    return replace(
        rejected,
        asset_id=safe_id(rejected.asset_id),
        feature_id=safe_id(rejected.feature_id),
        modality=safe_text(rejected.modality, 80),
        vector_name=safe_id(rejected.vector_name),
        column=safe_id(rejected.column),
        detail=safe_text(rejected.detail),
    )
