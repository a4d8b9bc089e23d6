"""The row a feature becomes: typed columns, metadata, the rest, and its hash; and whether a row is it. Pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import Any, Final

import orjson

from vectorferry.connector._model._errors import QuarantineError
from vectorferry.connector._model._json import canonical_json
from vectorferry.connector._model._mapping import ColumnMapping, ColumnType
from vectorferry.connector._model._records import Reason


def look_up(fields: Mapping[str, Any], path: Sequence[str]) -> Any:
    """What stands at `path`, or None. A part made of digits is an index where it meets a list."""
    value: Any = fields
    for part in path:
        value = _step(value, part)
        if value is None:
            return None
    return value


def _step(value: Any, part: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, list | tuple) and part.isascii() and part.isdigit():
        index = int(part)
        return value[index] if index < len(value) else None
    return None


def coerce(value: Any, kind: ColumnType) -> Any:
    """`value` as the Python value of a column of type `kind`; None stays None. Raises `ValueError` if it does not fit.

    Only conversions that lose nothing are made: numbers, booleans and JSON become text, an integral float becomes
    an integer, an ISO 8601 text becomes an aware datetime in UTC (without an offset it is taken as UTC).
    """
    if value is None:
        return None
    try:
        return COERCIONS[kind](value)
    except (OverflowError, TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def as_utc(moment: datetime) -> datetime:
    """The same moment in UTC; one without an offset is taken as UTC. Raises `OverflowError` at the calendar's ends."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def short(value: Any) -> str:
    """A few words for an error message about a value of any size."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, str):
        shown = repr(value[:60])
        return shown if len(shown) <= 60 else shown[:59] + "…"
    if isinstance(value, int) and value.bit_length() > 100:
        return "a very large number"
    return repr(value)[:60] if isinstance(value, int | float | datetime) else f"a value of type {type(value).__name__}"


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case datetime():
            return value.isoformat()
    return canonical_json(value).decode()


def _integer(bits: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError("not a number")
        number = int(value)
        if number != value or not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
            raise ValueError("out of range")
        return number

    return convert


def _double(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("not a boolean")
    return value


def _timestamp(value: Any) -> datetime:
    if isinstance(value, datetime):
        return as_utc(value)
    if not isinstance(value, str):
        raise TypeError("not a text")
    return as_utc(datetime.fromisoformat(value.strip()))


COERCIONS: Final[Mapping[ColumnType, Callable[[Any], Any]]] = {
    "text": _text,
    "integer": _integer(32),
    "bigint": _integer(64),
    "double precision": _double,
    "boolean": _boolean,
    "timestamptz": _timestamp,
    "jsonb": lambda value: value,
}


@dataclass(frozen=True, slots=True)
class Row:
    """Columns by name in the mapping's order, the two JSON objects, a hash of all three, and their size as JSON.

    `unfit` says by column what is wrong with a value that does not fit it; the column is None then.
    """

    columns: Mapping[str, Any]
    metadata: Mapping[str, Any]
    extra: Mapping[str, Any]
    digest: bytes
    size: int
    unfit: Mapping[str, QuarantineError]


OF_ASSET: Final = "asset"
"""Where a path begins so, the column of a feature has what its asset has at the rest of it."""


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    path: str
    parts: tuple[str, ...]
    type: ColumnType

    @property
    def is_of_asset(self) -> bool:
        return self.parts[0] == OF_ASSET and len(self.parts) > 1

    @property
    def is_of_field(self) -> bool:
        return len(self.parts) == 1

    def raw(self, fields: Mapping[str, Any], asset: Mapping[str, Any]) -> Any:
        return look_up(asset, self.parts[1:]) if self.is_of_asset else look_up(fields, self.parts)

    def converted(self, value: Any) -> Any:
        try:
            return coerce(value, self.type)
        except ValueError as error:
            detail = f"column {self.name}: {short(value)} does not fit {self.type} (path {self.path})"
            raise QuarantineError(Reason.BAD_VALUE, detail) from error


class RowShape:
    """How the features of one modality become rows."""

    def __init__(self, columns: Mapping[str, ColumnMapping]) -> None:
        self._columns = [_Column(n, c.path, tuple(c.path.split(".")), c.type) for n, c in columns.items()]
        self._mapped = frozenset(c.path for c in self._columns if c.is_of_field)
        self._apart = self._mapped | {"metadata"}
        self._sources = [(c, c.name, c.path if c.is_of_field else None) for c in self._columns]
        self.reads_asset = any(c.is_of_asset for c in self._columns)
        """Whether a row needs anything of its asset."""

    def row(self, fields: Mapping[str, Any], asset: Mapping[str, Any]) -> Row:
        """The row of a feature with these fields and those of its asset. Raises `QuarantineError` (malformed) when they
        cannot be written."""
        columns: dict[str, Any] = {}
        unfit: dict[str, QuarantineError] = {}
        for column, name, field in self._sources:
            value = column.raw(fields, asset) if field is None else fields.get(field)
            try:
                columns[name] = None if value is None else column.converted(value)
            except QuarantineError as error:
                columns[name], unfit[name] = None, error
        metadata = fields.get("metadata")
        has_metadata = metadata is None or isinstance(metadata, Mapping)
        apart = self._apart if has_metadata else self._mapped
        extra = {key: value for key, value in fields.items() if key not in apart}
        metadata = metadata if has_metadata and metadata else {}
        digest, size = hash_row(columns, metadata, extra)
        return Row(columns, metadata, extra, digest, size, unfit)


def hash_row(columns: Mapping[str, Any], metadata: Mapping[str, Any], extra: Mapping[str, Any]) -> tuple[bytes, int]:
    """A 16-byte hash of a row, and the length of the JSON it was taken of. Raises `QuarantineError` (malformed)."""
    try:
        text = _as_json(columns, metadata, extra)
    except (TypeError, ValueError, RecursionError) as error:
        raise QuarantineError(Reason.MALFORMED, f"the fields cannot be written as JSON: {error}") from error
    return hashlib.blake2b(text, digest_size=16).digest(), len(text)


def row_size(columns: Mapping[str, Any], metadata: Mapping[str, Any], extra: Mapping[str, Any]) -> int:
    """The length of a row that was hashed before, as JSON."""
    return len(_as_json(columns, metadata, extra))


def _as_json(columns: Mapping[str, Any], metadata: Mapping[str, Any], extra: Mapping[str, Any]) -> bytes:
    # orjson spells a time as `isoformat` does, where it is one in UTC, and takes a third of the time for it.
    for value in columns.values():
        if isinstance(value, datetime) and value.tzinfo is not UTC:
            break
    else:
        try:
            return orjson.dumps([columns, metadata, extra], option=orjson.OPT_SORT_KEYS)
        except TypeError:
            pass
    plain = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in columns.items()}
    return canonical_json([plain, metadata, extra])


# Whether a row that was read back is the one that a hash was taken of. Pure.
#
# A store of decimal numbers, as Postgres' jsonb is, gives a float beyond 10^16 back as an integer, and -0.0 as 0.0. So
# where the hash is not that of the row as it was read, those of its numbers are tried as they may have been.


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
