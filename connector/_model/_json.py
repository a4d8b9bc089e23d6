"""JSON from outside, fast where it is clean and forgiving where services are known not to be."""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np
import orjson

DEEPEST: Final = 100
"""Levels of objects and lists in each other. Far more than metadata has, far fewer than Python's stack can take."""

CONTAINERS: Final = (dict, list)
BEYOND_64_BITS: Final = 2.0**63
DIGITS: Final = bytes(ord("0") if chr(byte).isdecimal() else byte for byte in range(256))
NINETEEN_DIGITS: Final = b"0" * 19
BYTES_PER_OBJECT: Final = 1_000
EXACT: Final = frozenset({int, str, bool, type(None)})
PLAIN: Final = EXACT | {float}


MOST_PARSED_PER_BYTE: Final = 201
"""No byte is taken for more memory than that by `parsed_size`."""


def parsed_size(body: bytes) -> int:
    """How many bytes of memory the JSON value in these bytes would take, roughly and rather too many. Parses nothing.

    What CPython 3.11 takes on 64 bits: 184 for an object with a key (`sys.getsizeof`), 64 for a list, some 50 for a
    number in a list that grows (measured), and as much or more for a text. Punctuation within texts counts as well.
    """
    weights = {"{": 200, "[": 64, ",": 48, '"': 16}
    signs = np.frombuffer(body, np.uint8)  # counts what is frequent three times as fast as `bytes.count`
    return len(body) + sum(weight * int(np.count_nonzero(signs == ord(sign))) for sign, weight in weights.items())


def parse_json(body: bytes) -> Any:
    """The JSON value in these bytes.

    `NaN`, `Infinity` and lone surrogates, which orjson refuses, are read as the standard library reads them, and so are
    integers beyond 64 bits, which orjson rounds to floats; only in a list that begins with a float, as vectors do,
    they stay floats. Raises `ValueError` for anything else that is not one whole JSON value: a truncated answer, an
    HTML page.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _parse_leniently(body)
    return _parse_exactly(body, value) if _may_hold_long_integers(body) and _may_be_rounded(value) else value


def _may_hold_long_integers(body: bytes) -> bool:
    """Whether there may be an integer beyond 64 bits: it has 19 digits in a row. Not asked where there are few objects
    for so many bytes, as in answers full of vectors: looking at their values is quicker then than at each byte."""
    if body.count(b"{") * BYTES_PER_OBJECT < len(body):
        return True
    return NINETEEN_DIGITS in body.translate(DIGITS)


def _may_be_rounded(value: Any) -> bool:
    """Whether there is a float that an integer beyond 64 bits could have become."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if kind is float:
            if abs(item) >= BEYOND_64_BITS:
                return True
        elif kind is dict:
            waiting.extend([one for one in item.values() if type(one) not in EXACT])
        elif kind is list and item:
            waiting.extend(item[:1] if type(item[0]) is float else [one for one in item if type(one) not in EXACT])
    return False


def _parse_exactly(body: bytes, rounded: Any) -> Any:
    """What the standard library cannot read (it nests less) stays rounded."""
    try:
        return _parse_leniently(body)
    except ValueError:
        return rounded


def _parse_leniently(body: bytes) -> Any:
    try:
        return json.loads(body, parse_int=_integer)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None


def _integer(digits: str) -> int | float:
    """Python takes no more than some 4,300 digits, where a float is infinite; one such number spoils no answer."""
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def canonical_json(value: Any) -> bytes:
    """The same bytes for equal JSON values, whatever the order of their keys.

    Takes plain JSON values; NaN and infinities, which JSON does not have, become null. Integers beyond 64 bits
    and lone surrogates, which orjson cannot write, take the standard library's spelling. Raises `ValueError` for
    a value nested too deeply.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return _canonical_leniently(value)


def _canonical_leniently(value: Any) -> bytes:
    try:
        finite = json.loads(json.dumps(value), parse_constant=lambda _: None)
        return json.dumps(finite, sort_keys=True, separators=(",", ":")).encode()
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None


def shallow_json(value: Any) -> bytes | None:
    """The canonical form of a value that has too few objects and lists to be nested too deeply; None where it may be,
    and where orjson cannot write it."""
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return None
    return text if is_shallow(text) else None


def is_shallow(text: bytes) -> bool:
    """Whether a JSON text has too few objects and lists to be nested too deeply. Brackets are counted many times as
    fast as values are walked over."""
    return text.count(b"{") + text.count(b"[") <= DEEPEST


def is_too_deep(value: Any) -> bool:
    """Whether objects and lists are nested more than 100 levels deep, where functions that call themselves would end in
    `RecursionError`."""
    level = [value] if isinstance(value, CONTAINERS) else []
    for _ in range(DEEPEST):
        level = [
            child
            for item in level
            for child in (item.values() if isinstance(item, dict) else item)
            if type(child) not in PLAIN and isinstance(child, CONTAINERS)
        ]
        if not level:
            return False
    return any(level)
