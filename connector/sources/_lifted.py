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

from connector._errors import QuarantineError
from connector._json import parse_json
from connector._records import Vector
from connector._vectors import decode_vector

__all__ = ["LiftedVectors", "read_lifted"]

T = TypeVar("T")

NUMBERS: Final = re.compile(rb'(?<!\\)("(?:float|embedding)"\s*:\s*)(\[[^\[\]{"]+\])')
"""A list without lists, objects or texts under one of two keys. Within a JSON text a quote has a backslash before it,
so that nothing in there looks like one of these."""

Lifted: TypeAlias = Vector | QuarantineError


class LiftedVectors:
    """The vectors that were cut out of an answer, by what stands in their place there."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(8)
        self._held: dict[str, Lifted] = {}

    @property
    def left(self) -> int:
        """How many nobody has taken."""
        return len(self._held)

    def take(self, raw: Any) -> Vector:
        """The vector for what the answer holds in a vector's place. Raises `QuarantineError` when it is unusable."""
        vector = self._held.pop(raw, None) if isinstance(raw, str) else None
        if isinstance(vector, QuarantineError):
            raise vector
        return decode_vector(raw) if vector is None else vector

    def lift(self, found: re.Match[bytes]) -> bytes:
        """Keep the vector of a match, and give what to write in its place."""
        name = f"{self._mark}:{len(self._held)}"
        try:
            self._held[name] = decode_vector(parse_json(found[2]))
        except QuarantineError as error:
            self._held[name] = error
        return found[1] + b'"' + name.encode() + b'"'


def read_lifted(body: bytes, read: Callable[[Any, LiftedVectors], T]) -> T:
    """What `read` makes of an answer whose vectors it takes. Raises `ValueError` like `parse_json`, and what `read`
    raises.

    Vectors that it leaves were none, but lists in somebody's metadata: then it reads the answer as it came.
    """
    vectors = LiftedVectors()
    result = read(parse_json(NUMBERS.sub(vectors.lift, body)), vectors)
    return read(parse_json(body), LiftedVectors()) if vectors.left else result
