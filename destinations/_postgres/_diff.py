"""What a batch changes in one table, decided by comparing digests before anything is sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

from vectorferry.connector import Counts

__all__ = ["FeatureKey", "Row", "TableDiff", "WantedRows", "diff_table"]

FeatureKey: TypeAlias = tuple[str, str]
"""Asset id and feature id, within one collection."""

Row: TypeAlias = tuple[Any, ...]
WantedRows: TypeAlias = dict[FeatureKey, tuple[bytes, Row]]
"""By key: the hash that is compared, and the values in the order of the table's columns."""

SomeRow = TypeVar("SomeRow")
Digest = TypeVar("Digest")


@dataclass(slots=True)
class TableDiff(Generic[SomeRow]):
    """Rows to insert and to update, sorted by key; keys to delete; and how many stay as they are."""

    insert: list[SomeRow] = field(default_factory=list)
    update: list[SomeRow] = field(default_factory=list)
    delete: list[FeatureKey] = field(default_factory=list)
    unchanged: int = 0

    def counts(self) -> Counts:
        """The same as numbers."""
        return Counts(len(self.insert), len(self.update), self.unchanged, len(self.delete))


def diff_table(
    wanted: Mapping[FeatureKey, tuple[Digest, SomeRow]], held: Mapping[FeatureKey, Digest]
) -> TableDiff[SomeRow]:
    """Compare the rows a batch wants with what the table holds for the same assets, by hashes or any other digest.

    Keys are visited in sorted order, so that two writers take row locks in the same order.
    """
    diff: TableDiff[SomeRow] = TableDiff()
    for key in sorted(wanted):
        digest, row = wanted[key]
        if key not in held:
            diff.insert.append(row)
        elif held[key] != digest:
            diff.update.append(row)
        else:
            diff.unchanged += 1
    diff.delete.extend(sorted(held.keys() - wanted.keys()))
    return diff
