"""Names from the API become Postgres identifiers here, and nowhere else. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Final

__all__ = ["allocate", "fold"]

MAX_BYTES: Final = 63
"""NAMEDATALEN - 1: Postgres silently truncates anything longer."""

_SUFFIX_LENGTH: Final = 9


def fold(name: str) -> str:
    """A readable identifier for any name: lower case, digits and underscores. Different names may fold alike."""
    folded = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return folded or "unnamed"


def allocate(name: str, shape: Callable[[str], str], is_taken: Callable[[str], bool]) -> str:
    """The folded name, or the folded name with a hash of the original where that is too long or taken.

    `shape` makes the longest identifier that will be derived from the result (``video__{}``), so that all of
    them fit; `is_taken` says whether a candidate already belongs to another name.
    """
    plain = fold(name)
    if len(shape(plain)) <= MAX_BYTES and not is_taken(plain):
        return plain
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    room = MAX_BYTES - len(shape("")) - _SUFFIX_LENGTH
    return f"{plain[:room].rstrip('_')}_{digest}"
