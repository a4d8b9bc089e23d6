"""The named vectors a schema holds: how each is stored, and what its table, view and function are called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, select, text

from connector import Modality

from ._identifiers import allocate
from ._schema import SyncTables
from ._storage import VectorLayout

__all__ = ["Catalogue", "VectorEntry", "read_catalogue"]


@dataclass(frozen=True, slots=True)
class VectorEntry:
    """One named vector of one modality. `base` is the modality's table, `identifier` the folded vector name."""

    modality: Modality
    vector_name: str
    base: str
    identifier: str
    layout: VectorLayout
    sql_digest: str = ""

    @property
    def table(self) -> str:
        """Holds the vectors."""
        return f"{self.base}__{self.identifier}"

    @property
    def view(self) -> str:
        """Joins features and vectors, for people who query."""
        return f"{self.base}_{self.identifier}"

    @property
    def match_type(self) -> str:
        """The row type that the search function returns."""
        return f"{self.view}_match"

    @property
    def function(self) -> str:
        """The search function."""
        return f"search_{self.modality}_{self.identifier}"

    @property
    def index(self) -> str:
        """The vector index."""
        return f"{self.table}_hnsw"

    @property
    def names(self) -> frozenset[str]:
        """Every name in the schema that this entry takes."""
        return frozenset({self.table, self.view, self.match_type, self.function, self.index})


class Catalogue(Mapping[tuple[Modality, str], VectorEntry]):
    """Entries by modality and vector name."""

    def __init__(self, entries: Mapping[tuple[Modality, str], VectorEntry]) -> None:
        self._entries = dict(entries)

    def __getitem__(self, key: tuple[Modality, str]) -> VectorEntry:
        return self._entries[key]

    def __iter__(self) -> Iterator[tuple[Modality, str]]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def of(self, modality: Modality) -> list[VectorEntry]:
        """The named vectors of one modality."""
        return [self._entries[key] for key in self if key[0] == modality]

    def new_entry(
        self,
        modality: Modality,
        vector_name: str,
        base: str,
        layout: VectorLayout,
        exists: Callable[[frozenset[str]], bool],
    ) -> VectorEntry:
        """An entry whose names nobody else has. `exists` says whether the schema already has one of some names."""

        def entry(identifier: str) -> VectorEntry:
            return VectorEntry(modality, vector_name, base, identifier, layout)

        def is_taken(identifier: str) -> bool:
            names = entry(identifier).names
            return any(names & other.names for other in self.values()) or exists(names)

        def longest(identifier: str) -> str:
            return max(entry(identifier).names, key=len)

        return entry(allocate(vector_name, longest, is_taken))


def read_catalogue(connection: Connection, tables: SyncTables, bases: Mapping[Modality, str]) -> Catalogue:
    """The catalogue as it is in the database; empty before the first sync."""
    rows = connection.execute(select(tables.vectors)).mappings()
    entries = (_entry(row, bases) for row in rows)
    return Catalogue({(entry.modality, entry.vector_name): entry for entry in entries})


def names_exist(connection: Connection, schema: str, names: frozenset[str]) -> bool:
    """Whether any relation, type or function of this schema has one of these names."""
    found = connection.execute(
        text(
            "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = :schema AND c.relname = ANY(:names) "
            "UNION ALL SELECT 1 FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace "
            "WHERE n.nspname = :schema AND t.typname = ANY(:names) "
            "UNION ALL SELECT 1 FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
            "WHERE n.nspname = :schema AND p.proname = ANY(:names) LIMIT 1"
        ),
        {"schema": schema, "names": sorted(names)},
    )
    return found.first() is not None


def _entry(row: RowMapping, bases: Mapping[Modality, str]) -> VectorEntry:
    modality = Modality(row["modality"])
    return VectorEntry(
        modality=modality,
        vector_name=row["vector_name"],
        base=bases[modality],
        identifier=row["identifier"],
        layout=VectorLayout(
            storage=row["storage"],
            dimension=row["dimension"],
            metric=row["metric"],
            index=row["index_method"],
            m=row["m"],
            ef_construction=row["ef_construction"],
        ),
        sql_digest=row["sql_digest"],
    )
