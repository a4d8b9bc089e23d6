"""Small tables of metadata beside the assets: of a source that has them, for destinations that can hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from pydantic import Field, field_validator, model_validator

from vectorferry.connector._model._batch import Counts
from vectorferry.connector._model._mapping import SYSTEM_COLUMNS, ColumnType, Identifier, TableName
from vectorferry.connector._model._settings_base import Settings

RESERVED: Final = SYSTEM_COLUMNS | {"row_hash", "synced_at"}


class RelatedTable(Settings):
    """A table without vectors: its columns in their order, and the one of them that no two rows have the same text in.

    Names are the plug-in's own, never the service's.
    """

    name: TableName
    key: Identifier
    columns: dict[Identifier, ColumnType] = Field(min_length=1)

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        if name == "assets":
            raise ValueError("assets is the table of the assets themselves")
        return name

    @field_validator("columns")
    @classmethod
    def _columns_are_free(cls, columns: dict[str, ColumnType]) -> dict[str, ColumnType]:
        if reserved := sorted(columns.keys() & RESERVED):
            raise ValueError(f"{', '.join(reserved)}: every related table has such a column already")
        return columns

    @model_validator(mode="after")
    def _key_is_text(self) -> Self:
        if self.columns.get(self.key) != "text":
            raise ValueError(f"the key {self.key} is no column of type text")
        return self


@dataclass(frozen=True, slots=True, eq=False)
class RelatedRow:
    """A row after validation. `columns` holds exactly the table's, in their order; `row_hash` covers all of them."""

    key: str
    columns: Mapping[str, Any]
    row_hash: bytes


def related_counts(stored: Mapping[str, bytes], rows: Iterable[RelatedRow], *, complete: bool) -> Counts:
    """What replacing rows with these hashes by these rows changes."""
    counts, hashes = Counts(), {row.key: row.row_hash for row in rows}
    for key, digest in hashes.items():
        counts.compare(stored.get(key), digest)
    counts.deleted = len(stored.keys() - hashes.keys()) if complete else 0
    return counts
