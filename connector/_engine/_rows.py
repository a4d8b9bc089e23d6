"""The row a feature becomes: mapped columns, metadata, and everything else in `extra`. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vectorferry.connector._engine._columns import coerce, look_up, short
from vectorferry.connector._errors import QuarantineError
from vectorferry.connector._json import canonical_json
from vectorferry.connector._mapping import ColumnMapping, ColumnType
from vectorferry.connector._records import Reason

__all__ = ["Row", "RowShape", "hash_row", "row_size", "split_metadata"]


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


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    path: str
    parts: tuple[str, ...]
    type: ColumnType

    def read(self, fields: Mapping[str, Any]) -> Any:
        value = look_up(fields, self.parts)
        try:
            return coerce(value, self.type)
        except ValueError as error:
            detail = f"column {self.name}: {short(value)} does not fit {self.type} (path {self.path})"
            raise QuarantineError(Reason.BAD_VALUE, detail) from error


class RowShape:
    """How the features of one modality become rows."""

    def __init__(self, columns: Mapping[str, ColumnMapping]) -> None:
        self._columns = [_Column(n, c.path, tuple(c.path.split(".")), c.type) for n, c in columns.items()]
        self._mapped = frozenset(c.path for c in self._columns if len(c.parts) == 1)

    def row(self, fields: Mapping[str, Any]) -> Row:
        """The row of a feature with these fields. Raises `QuarantineError` (malformed) when they cannot be written."""
        columns: dict[str, Any] = {}
        unfit: dict[str, QuarantineError] = {}
        for column in self._columns:
            try:
                columns[column.name] = column.read(fields)
            except QuarantineError as error:
                columns[column.name], unfit[column.name] = None, error
        metadata, rest = split_metadata(fields)
        extra = {key: value for key, value in rest.items() if key not in self._mapped}
        digest, size = hash_row(columns, metadata, extra)
        return Row(columns, metadata, extra, digest, size, unfit)


def split_metadata(fields: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The object under ``metadata``, and the other fields. Metadata that is not an object stays with the others."""
    metadata = fields.get("metadata")
    if metadata is not None and not isinstance(metadata, Mapping):
        return {}, fields
    return metadata or {}, {key: value for key, value in fields.items() if key != "metadata"}


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
    plain = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in columns.items()}
    return canonical_json([plain, metadata, extra])
