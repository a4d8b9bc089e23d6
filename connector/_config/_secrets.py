"""A key that somebody put where a name belongs: it must not be repeated in the message that says so."""

from __future__ import annotations

from typing import Final

__all__ = ["HIDDEN", "looks_secret", "without_secret"]

HIDDEN: Final = "***"

_SHORTEST: Final = 16
_DIGITS: Final = 3


def looks_secret(name: str) -> bool:
    """Whether this is more likely a key than a name: long, with several digits among its letters.

    Keys of Mixpeek, TwelveLabs and Pinecone are; names of settings, syncs and environment variables hardly ever.
    """
    return len(name) >= _SHORTEST and sum(char.isdigit() for char in name) >= _DIGITS


def without_secret(name: str) -> str:
    """The name, or `HIDDEN` in its place."""
    return HIDDEN if looks_secret(name) else name
