"""Compressed answers, undone within a bound: a few hundred bytes can stand for gigabytes."""

from __future__ import annotations

import zlib
from typing import Final

from vectorferry.connector._errors import RetryableError

__all__ = ["ACCEPTED", "Unpacker"]

ACCEPTED: Final = "gzip"
"""What a request says that it takes."""

_PLAIN: Final = ("", "identity")
_ZIPPED: Final = ("gzip", "x-gzip", "deflate")
_ANY_HEADER: Final = 32 + zlib.MAX_WBITS


class Unpacker:
    """Undoes the Content-Encoding of one answer, piece by piece, and makes no more than one byte over `most`.

    The HTTP libraries undo as many encodings as an answer names, each as a whole. Raises `RetryableError` for one that
    was not asked for, for several, and for what is not encoded as it says.
    """

    def __init__(self, encoding: str, most: int) -> None:
        encoding = encoding.strip().lower()
        if encoding not in (*_PLAIN, *_ZIPPED):
            raise RetryableError("an answer in an encoding that was not asked for")
        self._inflating = None if encoding in _PLAIN else zlib.decompressobj(_ANY_HEADER)
        self._left = most + 1
        self._begun = False

    def take(self, piece: bytes) -> bytes:
        """What this piece holds, cut where it is too much."""
        if self._inflating is None:
            return piece
        self._begun = True
        try:
            held = self._inflating.decompress(piece, max(self._left, 1))
        except zlib.error:
            raise RetryableError("an answer that cannot be unpacked") from None
        self._left -= len(held)
        return held

    def end(self) -> None:
        """Raise `RetryableError` when the answer was not whole."""
        if self._begun and self._inflating is not None and not self._inflating.eof:
            raise RetryableError("an answer that ends early")
