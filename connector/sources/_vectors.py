"""Answers that are nearly all vectors, read without ever holding all their numbers as Python floats.

A vector of 512 numbers takes 16 kB as a list of floats and 2 kB as float32. The parser would make such lists of all
vectors of an answer at once; here each is cut out of the body, turned into float32 and forgotten before the next, and
what is left of the body is small.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable
from functools import cache
from itertools import count
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from vectorferry.connector._model._errors import QuarantineError
from vectorferry.connector._model._json import is_shallow, parse_json
from vectorferry.connector._model._records import Vector
from vectorferry.connector._model._vectors import decode_vector, dense_vector

T = TypeVar("T")

NOT_NUMBERS: Final = (b"[", b"{", b'"')
"""What a list of numbers does not hold, beyond its own first character."""

WORDS: Final = (b"a", b"u", b"I")
"""In each word that may stand among numbers and is none: false, null, true, NaN, Infinity."""

PLAIN_KEY: Final = re.compile(r"[ !#-\[\]-~]+")
"""A key that JSON spells as it is, in whichever way it is written."""

MARK: Final = secrets.token_hex(8)
"""What no service knows, and no answer can hold, to begin the names of vectors that were cut out. These never leave."""

NUMBERS: Final = count()
"""No two of them are called alike, in whichever answer."""

BLOCK: Final = 32_768
"""Numbers that are made float32 together: few enough to stay in a processor's cache. numpy lets other threads run
during each step, and getting back from them takes far longer than the step does for one vector."""

Lifted: TypeAlias = Vector | QuarantineError


@cache
def head_of(keys: tuple[str, ...]) -> re.Pattern[bytes]:
    """One of these keys, before a list; a key that JSON may spell in several ways is none.

    Within a JSON text a quote has a backslash before it, so that nothing in there looks like one of these.
    """
    plain = sorted(re.escape(key) for key in keys if PLAIN_KEY.fullmatch(key))
    # Only behind a quote is it worth looking, and for a pattern that begins with one `re` skips to it quickly.
    return re.compile(rb'"(?<!\\")(?:%s)"\s*:\s*(?=\[)' % "|".join(plain).encode())


class LiftedVectors:
    """The vectors that were cut out of an answer, by what stands in their place there.

    `around_is_shallow` says that what is left of the answer has too few objects and lists to be nested too deeply.
    """

    def __init__(self) -> None:
        self.around_is_shallow = False
        self._vectors: dict[str, Lifted] = {}
        self._block: list[_Numbers] = []
        self._size = 0

    @property
    def remaining(self) -> int:
        """How many nobody has taken."""
        return len(self._vectors)

    def take(self, raw: Any) -> Vector:
        """The vector for what the answer holds in a vector's place. Raises `QuarantineError` when it is unusable."""
        vector = self._vectors.pop(raw, None) if isinstance(raw, str) else None
        if vector is None:
            return decode_vector(raw)
        if isinstance(vector, QuarantineError):
            raise vector
        return vector

    def exchange(self, raw: Any) -> Any:
        """The vector, or why it is unusable, for what stands in its place; anything else as it is."""
        return self._vectors.pop(raw, raw) if isinstance(raw, str) else raw

    def lift(self, body: bytes, keys: tuple[str, ...]) -> bytes:
        """Keep the vectors under these keys, and give the answer with something short in the place of each.

        Only what is between vectors is searched: nearly all of an answer is numbers, which are stepped over.
        """
        head, parts = head_of(keys), list[bytes]()
        copied = place = 0
        with np.errstate(over="ignore"):
            while found := head.search(body, place):
                start = found.end()
                end = body.find(b"]", start) + 1
                place = start
                if end and (name := self._keep(body[start:end])):
                    parts += (body[copied:start], b'"%s"' % name.encode())
                    copied = place = end
            if self._block:
                self._end_block()
        around = b"".join((*parts, body[copied:]))
        self.around_is_shallow = is_shallow(around)
        return around

    def _keep(self, text: bytes) -> str | None:
        """What to put in the place of a vector; None where this is none."""
        name = f"{MARK}:{next(NUMBERS)}"
        doubles = _parser.doubles(text)
        if doubles is not None:
            self._add_to_block(_Numbers(name, text, doubles))
        elif any(char in text[1:] for char in NOT_NUMBERS) or len(text) <= len("[]"):
            return None
        else:
            self._vectors[name] = _decoded(text)
        return name

    def _add_to_block(self, numbers: _Numbers) -> None:
        self._block.append(numbers)
        self._size += len(numbers.doubles)
        if self._size >= BLOCK:
            self._end_block()

    def _end_block(self) -> None:
        """Make float32 of what has been parsed; what does not fit into that is read once more, for a reason."""
        block, self._block, self._size = self._block, [], 0
        numbers = np.frombuffer(b"".join([each.doubles for each in block])).astype(np.float32)
        all_finite = _are_finite(numbers)
        start = 0
        for each in block:
            vector = numbers[start : start + len(each.doubles)]
            start += len(vector)
            self._vectors[each.name] = vector if all_finite or _are_finite(vector) else _decoded(each.text)


class _Numbers(NamedTuple):
    """A list of numbers as the answer spells it, what it is called, and its numbers as they were parsed."""

    name: str
    text: bytes
    doubles: memoryview[float]


class _Parser(threading.local):
    """Reads lists of numbers without a Python object for each: some four times as fast as `dense_vector`.

    A parser is kept by each thread: making one, with its buffers, takes longer than a vector does.
    """

    def __init__(self) -> None:
        new_parser = _simdjson_parser()
        self._parser = new_parser and new_parser()

    def doubles(self, numbers: bytes) -> memoryview[float] | None:
        """The numbers; None for what is no list of them, or an empty one, and without simdjson.

        They are the nearest doubles, as orjson's are, so that the float32 of them are the same bits as `decode_vector`
        makes.
        """
        if self._parser is None:
            return None
        try:
            doubles = memoryview(self._parser.parse(numbers).as_buffer(of_type="d")).cast("d")
        except (ValueError, TypeError, RuntimeError):
            return None
        return doubles if len(doubles) else None


@cache
def _simdjson_parser() -> Callable[[], Any] | None:
    """None where there is no wheel of it: orjson gives the same numbers, more slowly."""
    try:
        from simdjson import Parser
    except ImportError:
        return None
    return Parser


_parser = _Parser()


def read_lifted(body: bytes, keys: tuple[str, ...], read: Callable[[Any, LiftedVectors], T]) -> T:
    """What `read` makes of an answer whose vectors, under these keys, it takes. Raises `ValueError` like `parse_json`,
    and what `read` raises.

    Vectors that it leaves were none, but lists in somebody's metadata: then it reads the answer as it came.
    """
    vectors = LiftedVectors()
    result = read(parse_json(vectors.lift(body, keys) if keys else body), vectors)
    return read(parse_json(body), LiftedVectors()) if vectors.remaining else result


def _are_finite(numbers: NDArray[np.float32]) -> bool:
    # Looked through as bytes, in half the time that numpy's `all` takes.
    return 0 not in np.isfinite(numbers).tobytes()


def _decoded(numbers: bytes) -> Lifted:
    """The quick way for what holds nothing but numbers, as nearly every vector does."""
    try:
        if any(word in numbers for word in WORDS):
            return decode_vector(parse_json(numbers))
        return dense_vector(orjson.loads(numbers))
    except QuarantineError as error:
        return error
