"""Answers that are nearly all vectors, read without ever holding all their numbers as Python floats.

A vector of 512 numbers takes 16 kB as a list of floats and 2 kB as float32. The parser would make such lists of all
vectors of an answer at once; here each is cut out of the body, turned into float32 and forgotten before the next, and
what is left of the body is small.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

import orjson

from vectorferry.connector._model._errors import QuarantineError
from vectorferry.connector._model._json import parse_json
from vectorferry.connector._model._records import Vector
from vectorferry.connector._model._vectors import decode_vector, dense_vector

T = TypeVar("T")

HEAD: Final = re.compile(rb'(?<!\\)"(?:float|embedding)"\s*:\s*(?=\[)')
"""One of two keys, before a list. Within a JSON text a quote has a backslash before it, so that nothing in there looks
like one of these."""

NOT_NUMBERS: Final = (b"[", b"{", b'"')
"""What a list of numbers does not hold, beyond its own first character."""

WORDS: Final = (b"a", b"u", b"I")
"""In each word that may stand among numbers and is none: false, null, true, NaN, Infinity."""

Lifted: TypeAlias = Vector | QuarantineError


class LiftedVectors:
    """The vectors that were cut out of an answer, by what stands in their place there."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(8)
        self._vectors: dict[str, Lifted] = {}

    @property
    def remaining(self) -> int:
        """How many nobody has taken."""
        return len(self._vectors)

    def take(self, raw: Any) -> Vector:
        """The vector for what the answer holds in a vector's place. Raises `QuarantineError` when it is unusable."""
        vector = self._vectors.pop(raw, None) if isinstance(raw, str) else None
        if isinstance(vector, QuarantineError):
            raise vector
        return decode_vector(raw) if vector is None else vector

    def lift(self, body: bytes) -> bytes:
        """Keep the vectors of an answer, and give the answer with something short in the place of each.

        Only what is between vectors is searched: nearly all of an answer is numbers, which are stepped over.
        """
        parts: list[bytes] = []
        copied = place = 0
        while head := HEAD.search(body, place):
            start, end = head.end(), body.find(b"]", head.end()) + 1
            numbers = body[start:end]
            place = start
            if end and not any(char in numbers[1:] for char in NOT_NUMBERS) and len(numbers) > len("[]"):
                parts += (body[copied:start], self._keep(numbers))
                copied = place = end
        return b"".join((*parts, body[copied:]))

    def _keep(self, numbers: bytes) -> bytes:
        name = f"{self._mark}:{len(self._vectors)}"
        try:
            self._vectors[name] = _decoded(numbers)
        except QuarantineError as error:
            self._vectors[name] = error
        return b'"%s"' % name.encode()


def read_lifted(body: bytes, read: Callable[[Any, LiftedVectors], T]) -> T:
    """What `read` makes of an answer whose vectors it takes. Raises `ValueError` like `parse_json`, and what `read`
    raises.

    Vectors that it leaves were none, but lists in somebody's metadata: then it reads the answer as it came.
    """
    vectors = LiftedVectors()
    result = read(parse_json(vectors.lift(body)), vectors)
    return read(parse_json(body), LiftedVectors()) if vectors.remaining else result


def _decoded(numbers: bytes) -> Vector:
    """The quick way for what holds nothing but numbers, as nearly every vector does."""
    if any(word in numbers for word in WORDS):
        return decode_vector(parse_json(numbers))
    return dense_vector(orjson.loads(numbers))
