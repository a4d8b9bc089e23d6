"""The tables that a destination keeps named vectors in: one for each dimension that a vector ever had."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from vectorferry.connector._records import Modality

__all__ = ["VectorCount", "VectorCounts", "VectorTable", "VectorTableState", "VectorTables"]

VectorTableState: TypeAlias = Literal["current", "filling", "retired"]
"""What the plain view shows; what will take its place, or stands beside it; what it showed before."""


@dataclass(frozen=True, slots=True)
class VectorTable:
    """One dimension of a named vector. `rows` are values of features, `superseded` rows are kept beside these; `view`
    and `function` show this table."""

    table: str
    modality: Modality
    vector_name: str
    storage: str
    rows: int
    superseded: int
    state: VectorTableState
    view: str
    function: str


@runtime_checkable
class VectorTables(Protocol):
    """What a destination also provides when a changed dimension leaves a table behind. `prepare` is not needed."""

    def vector_tables(self) -> Sequence[VectorTable]:
        """All of them, sorted by modality and name, those of one name from the oldest to the newest."""

    def drop_vector_tables(self, tables: Sequence[str]) -> Sequence[VectorTable]:
        """Drop these tables with what shows them: retired ones, and ones without any row. All or nothing.

        Raises `ConfigurationError` for one that is not there, that is in use, or that somebody has built upon, and
        `LockedError` while a sync is running.
        """


@dataclass(frozen=True, slots=True)
class VectorCount:
    """How many features have a named vector of one dimension (None: a sparse one), and in which `place`: ``the table
    video__model_704``. `modality` is None where one place holds those of all modalities."""

    modality: Modality | None
    vector_name: str
    dimension: int | None
    rows: int
    place: str


@runtime_checkable
class VectorCounts(Protocol):
    """What a destination also provides when it keeps vectors of each dimension in a place of their own. `prepare` comes
    first."""

    def vector_counts(self, vector_names: Collection[str]) -> Sequence[VectorCount]:
        """Those of these named vectors that have more than one dimension now, one count for each. Counts nothing where
        none has."""
