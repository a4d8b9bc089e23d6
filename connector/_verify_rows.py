"""Whether a row that was read back is the one that a hash was taken of. Pure.

A store of decimal numbers, as Postgres' jsonb is, gives a float beyond 10^16 back as an integer, and -0.0 as 0.0. So
where the hash is not that of the row as it was read, those of its numbers are tried as they may have been.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, Final

from vectorferry.connector._engine._rows import hash_row
from vectorferry.connector._errors import QuarantineError

__all__ = ["is_row_of"]

_SAME_WITHOUT_EXPONENT: Final = 10**16
"""From here on canonical JSON writes a float with an exponent."""

_MOST_TRIED: Final = 6
"""Numbers of one row, each of which doubles the work. A row with more of them is never said to be another one."""


def is_row_of(
    row_hash: bytes, columns: Mapping[str, Any], metadata: Mapping[str, Any], extra: Mapping[str, Any]
) -> bool:
    """Whether the hash may be this row's."""
    row = [columns, metadata, extra]
    try:
        if hash_row(*row)[0] == row_hash:
            return True
        doubtful = sum(1 for _ in _doubtful(row))
        return doubtful > _MOST_TRIED or any(
            hash_row(*_with(row, iter(choices)))[0] == row_hash for choices in product((False, True), repeat=doubtful)
        )
    except (QuarantineError, OverflowError, RecursionError):
        return False


def _doubtful(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _doubtful(item)
    elif isinstance(value, list):
        for item in value:
            yield from _doubtful(item)
    elif _may_have_been_another(value):
        yield value


def _with(value: Any, choices: Iterator[bool]) -> Any:
    """The value, with the other form of each doubtful number for which `choices` says so."""
    if isinstance(value, Mapping):
        return {key: _with(item, choices) for key, item in value.items()}
    if isinstance(value, list):
        return [_with(item, choices) for item in value]
    return _other_form(value) if _may_have_been_another(value) and next(choices) else value


def _may_have_been_another(value: Any) -> bool:
    return (isinstance(value, float) and value == 0) or (type(value) is int and abs(value) >= _SAME_WITHOUT_EXPONENT)


def _other_form(value: float) -> float:
    return float(value) or -0.0
