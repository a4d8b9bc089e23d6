"""The named vectors a schema holds, and what each one's tables, views and functions are called."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, get_args

from sqlalchemy import ColumnElement, Connection, Executable, Select, and_, delete, insert, select, text, update

from vectorferry.connector.plugin import MODALITIES, ConfigurationError, Modality, VectorTableState
from vectorferry.destinations.pgvector._storage import OPERATORS, SPARSE_DIMENSION, VectorStorage, storage_in_words
from vectorferry.destinations.pgvector._tables import SyncTables

MAX_BYTES: Final = 63
"""NAMEDATALEN - 1: Postgres silently truncates anything longer."""

_SUFFIX_LENGTH: Final = 9


def fold(name: str) -> str:
    """A readable identifier for any name: lower case, digits and underscores. Different names may fold alike."""
    folded = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return folded or "unnamed"


def allocate(name: str, shape: Callable[[str], str], is_taken: Callable[[str], bool]) -> str:
    """The folded name, or the folded name with a hash of the original where that is too long or taken.

    `shape` makes the longest identifier that will be derived from the result (``video__{}``), so that all of
    them fit; `is_taken` says whether a candidate already belongs to another name.
    """
    plain = fold(name)
    if len(shape(plain)) <= MAX_BYTES and not is_taken(plain):
        return plain
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    room = MAX_BYTES - len(shape("")) - _SUFFIX_LENGTH
    return f"{plain[:room].rstrip('_')}_{digest}"


# A named vector has a generation, with a table of its own, for each dimension that it ever had.


VectorKey: TypeAlias = tuple[Modality, str, int]
"""Modality, vector name, and dimension, which tells dense from sparse as well: no dense vector has so many."""

_Exists: TypeAlias = Callable[[frozenset[str]], bool]


@dataclass(frozen=True, slots=True)
class Layer:
    """What people query of one generation: a view that joins features and vectors, and a search function."""

    view: str
    function: str

    @property
    def match_type(self) -> str:
        """The row type that the search function returns."""
        return f"{self.view}_match"

    @property
    def names(self) -> frozenset[str]:
        """Every name in the schema that it takes."""
        return frozenset({self.view, self.match_type, self.function})


@dataclass(frozen=True, slots=True)
class VectorEntry:
    """One generation of a named vector of one modality.

    `base` is the modality's table. Folded names: `identifier` for the table, `plain` for the view and function that
    show the current generation, `own` for those that always show this one (empty: there has been no other so far).
    The digests say what the layers were made of.
    """

    modality: Modality
    vector_name: str
    base: str
    identifier: str
    storage: VectorStorage
    generation: int = 1
    state: VectorTableState = "current"
    plain: str = ""
    own: str = ""
    sql_digest: str = ""
    own_digest: str = ""

    @property
    def key(self) -> VectorKey:
        """What the catalogue knows it by."""
        return self.modality, self.vector_name, self.storage.dimension

    @property
    def table(self) -> str:
        """Holds the vectors."""
        return f"{self.base}__{self.identifier}"

    @property
    def index(self) -> str:
        """The vector index."""
        return f"{self.table}_ivf" if self.storage.index == "ivfflat" else f"{self.table}_hnsw"

    @property
    def key_index(self) -> str:
        """The index by which the view finds a feature's vector."""
        return f"{self.table}_key"

    @property
    def plain_layer(self) -> Layer:
        """What shows the current generation, whichever it is."""
        return self._layer(self.plain)

    @property
    def own_layer(self) -> Layer | None:
        """What always shows this generation."""
        return self._layer(self.own) if self.own else None

    @property
    def layer(self) -> Layer:
        """What shows this generation now, the plain one where it does."""
        return self.plain_layer if self.state == "current" else self._layer(self.own)

    @property
    def names(self) -> frozenset[str]:
        """Every name in the schema that this generation takes."""
        own = self.own_layer.names if self.own_layer else frozenset()
        return (
            frozenset({self.table, f"{self.table}_hnsw", f"{self.table}_ivf", self.key_index})
            | self.plain_layer.names
            | own
        )

    def _layer(self, identifier: str) -> Layer:
        return Layer(f"{self.base}_{identifier}", f"search_{self.modality}_{identifier}")


class Catalogue(Mapping[VectorKey, VectorEntry]):
    """Generations by modality, vector name and dimension."""

    def __init__(self, entries: Mapping[VectorKey, VectorEntry]) -> None:
        self._entries = dict(entries)

    def __getitem__(self, key: VectorKey) -> VectorEntry:
        return self._entries[key]

    def __iter__(self) -> Iterator[VectorKey]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def changed(self, *entries: VectorEntry) -> Catalogue:
        """The same with these in it, in place of what it has under their keys."""
        return Catalogue({**self._entries, **{entry.key: entry for entry in entries}})

    def without(self, entry: VectorEntry) -> Catalogue:
        """The same without this one."""
        return Catalogue({key: other for key, other in self._entries.items() if key != entry.key})

    def of(self, modality: Modality) -> list[VectorEntry]:
        """The generations of one modality's named vectors, those of one name from the oldest to the newest."""
        entries = [entry for entry in self.values() if entry.modality == modality]
        return sorted(entries, key=lambda entry: (entry.vector_name, entry.generation))

    def live(self, modality: Modality) -> list[VectorEntry]:
        """The same without those that are retired, which hold no feature's value."""
        return [entry for entry in self.of(modality) if entry.state != "retired"]

    def named(self, modality: Modality) -> dict[str, list[VectorEntry]]:
        """By vector name: its generations from the oldest to the newest."""
        by_name: dict[str, list[VectorEntry]] = {}
        for entry in self.of(modality):
            by_name.setdefault(entry.vector_name, []).append(entry)
        return by_name

    def generations(self, modality: Modality, vector_name: str) -> list[VectorEntry]:
        """Those of one named vector, from the oldest to the newest; none where nothing of that name has arrived."""
        return self.named(modality).get(vector_name, [])

    def live_generations(self, modality: Modality, vector_name: str) -> list[VectorEntry]:
        """The same without those that are retired."""
        return [entry for entry in self.generations(modality, vector_name) if entry.state != "retired"]

    def new_entry(
        self, modality: Modality, vector_name: str, base: str, storage: VectorStorage, exists: _Exists
    ) -> VectorEntry:
        """The first or a later generation, whose names nobody else has. `exists` says whether the schema already has
        one of some names."""
        entry = VectorEntry(modality, vector_name, base, "", storage)
        earlier = self.generations(modality, vector_name)
        if not earlier:
            name = self._free(entry, vector_name, exists)
            return replace(entry, identifier=name, plain=name)
        name, newest = self._free(entry, _with_dimension(entry), exists), earlier[-1]
        later = replace(entry, generation=newest.generation + 1, state="filling", plain=newest.plain)
        return replace(later, identifier=name, own=name)

    def with_own_layer(self, entry: VectorEntry, exists: _Exists) -> VectorEntry:
        """A first generation with names for a view and a function that will always show it."""
        return replace(entry, own=self._free(entry, _with_dimension(entry), exists))

    def _free(self, entry: VectorEntry, name: str, exists: _Exists) -> str:
        """An identifier for a table, a view and a function, none of which is there."""

        def names(identifier: str) -> frozenset[str]:
            return replace(entry, identifier=identifier, plain=identifier).names

        def is_taken(identifier: str) -> bool:
            return any(names(identifier) & other.names for other in self.values()) or exists(names(identifier))

        return allocate(name, lambda identifier: max(names(identifier), key=len), is_taken)


def stored_entries(tables: SyncTables) -> Select[Any]:
    """Asks for the catalogue as it is in the database, for `catalogue_of`."""
    return select(tables.vectors)


def catalogue_of(rows: Iterable[Any], tables: SyncTables, bases: Mapping[Modality, str]) -> Catalogue:
    """The catalogue that consists of these rows. Raises `ConfigurationError` for one that cannot be made out."""
    entries = (_entry(row._asdict(), tables, bases) for row in rows)
    return Catalogue({entry.key: entry for entry in entries})


def names_exist(connection: Connection, schema: str, names: frozenset[str]) -> bool:
    """Whether any relation, type or function of this schema has one of these names."""
    by_name = connection.execute(
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
    return by_name.first() is not None


_STORAGE: Final = ("storage", "dimension", "metric", "index_method", "m", "ef_construction")
_OTHERS: Final = ("vector_name", "identifier", "generation", "state", "plain", "own", "sql_digest", "own_digest")


_Digests: TypeAlias = Mapping[str, ColumnElement[str]]
"""By column: what only the server can work out."""
_AS_GIVEN: Final[_Digests] = {}


def entry_insertion(tables: SyncTables, entry: VectorEntry, digests: _Digests = _AS_GIVEN) -> Executable:
    """What enters a generation into the catalogue, with these in place of the entry's own."""
    return insert(tables.vectors).values({**_row(entry), **digests})


def entry_update(tables: SyncTables, entry: VectorEntry, digests: _Digests = _AS_GIVEN) -> Executable:
    """What brings the catalogue to what is said of a generation now, with these in place of the entry's own."""
    return update(tables.vectors).where(_is_of(tables, entry)).values({**_row(entry), **digests})


def entry_removal(tables: SyncTables, entry: VectorEntry) -> Executable:
    """What takes a generation out of the catalogue."""
    return delete(tables.vectors).where(_is_of(tables, entry))


def _is_of(tables: SyncTables, entry: VectorEntry) -> ColumnElement[bool]:
    vectors = tables.vectors.c
    key = (vectors.modality, vectors.vector_name, vectors.dimension)
    return and_(*(column == value for column, value in zip(key, entry.key, strict=True)))


def _row(entry: VectorEntry) -> dict[str, Any]:
    storage = entry.storage
    values = (
        storage.column_type,
        storage.dimension,
        storage.metric,
        storage.index_words,
        storage.m,
        storage.ef_construction,
    )
    others = {name: getattr(entry, name) for name in _OTHERS}
    return {"modality": entry.modality.value, **others, **dict(zip(_STORAGE, values, strict=True))}


def _entry(row: Mapping[str, Any], tables: SyncTables, bases: Mapping[Modality, str]) -> VectorEntry:
    unreadable = [name for name, values in _KNOWN.items() if row[name] not in values]
    unreadable += [name for name in ("identifier", "plain", "dimension", "generation") if row[name] is None]
    for name in unreadable:
        raise ConfigurationError(
            f"the table {tables.vectors.fullname} was changed by hand: the {name} of {row['modality']} vectors "
            f"{row['vector_name']} is {row[name]}. Set it back to what it was, and look with `vectorferry plan`."
        )
    values = {**row, **{name: value for name, value in _LOST.items() if row[name] is None}}
    return VectorEntry(
        modality=Modality(row["modality"]),
        base=bases[Modality(row["modality"])],
        storage=storage_in_words(*(values[name] for name in _STORAGE)),
        **{name: values[name] for name in _OTHERS},
    )


_LOST: Final[Mapping[str, Any]] = {
    "own": "",
    "sql_digest": "",
    "own_digest": "",
    "index_method": "none",
    "m": 0,
    "ef_construction": 0,
}
"""What stands for what somebody has deleted: a view, a function or an index that is to be made anew."""

_KNOWN: Final[Mapping[str, Collection[str]]] = {
    "modality": [modality.value for modality in MODALITIES],
    "storage": ("vector", "halfvec", "sparsevec"),
    "metric": OPERATORS,
    "state": get_args(VectorTableState),
}


def _with_dimension(entry: VectorEntry) -> str:
    dimension = entry.storage.dimension
    return f"{entry.vector_name}-{'sparse' if dimension == SPARSE_DIMENSION else dimension}"
