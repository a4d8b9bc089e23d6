"""What a sync fills, piece by piece: modality tables, and in some destinations an index per named vector."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from vectorferry import SyncSettings
from vectorferry.connector.plugin import MODALITIES, ConfigurationError, DestinationSettings, Modality

NOT_IN_KEYS: Final = re.compile(r"[^a-z0-9_]")


@dataclass(frozen=True, slots=True)
class ModalityTable:
    """One modality of a sync, in every destination that has no index assets."""

    settings: SyncSettings
    modality: Modality

    @property
    def name(self) -> str:
        """The table's name in the destination."""
        return self.settings.modalities.table(self.modality)

    @property
    def places(self) -> frozenset[int]:
        """The destinations that are synced for it, by their position in the file."""
        return frozenset(range(len(self.settings.destinations))) - _indexed(self.settings)


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """One named vector in a destination that keeps an index for it, of all modalities.

    `place` is the destination's position in the file; `name` the vector's, as far as an asset key can hold it.
    """

    settings: SyncSettings
    place: int
    vector_name: str
    name: str

    @property
    def destination(self) -> DestinationSettings:
        """The settings of the destination that the index is in."""
        return self.settings.destinations[self.place]

    @property
    def places(self) -> frozenset[int]:
        """The destinations that are synced for it, by their position in the file: its own."""
        return frozenset({self.place})


Target: TypeAlias = ModalityTable | VectorIndex


def targets_of(settings: SyncSettings) -> list[Target]:
    """The tables of a sync, one per modality, if any destination has them; then the indexes that are known.

    Raises `ConfigurationError` when two destinations with indexes have one name.
    """
    indexed = _indexed(settings)
    _check_names(destination_name(settings.destinations[place]) for place in sorted(indexed))
    tables = [ModalityTable(settings, modality) for modality in MODALITIES]
    indexes = [index for place in sorted(indexed) for index in _indexes(settings, place, _known(settings, place))]
    return [*(tables if len(indexed) < len(settings.destinations) else ()), *indexes]


def further_indexes(settings: SyncSettings, place: int, vector_names: Iterable[str]) -> list[VectorIndex]:
    """Indexes of those of these named vectors that the destination at `place` was not known to have."""
    known = _known(settings, place)
    new = sorted(set(vector_names).difference(known))
    return list(_indexes(settings, place, [*known, *new]))[len(known) :]


def destination_name(destination: DestinationSettings) -> str:
    """What the destination is called in the file, or else its type."""
    return str(getattr(destination, "name", destination.type))


def _indexed(settings: SyncSettings) -> frozenset[int]:
    return frozenset(place for place in range(len(settings.destinations)) if _known(settings, place))


def _known(settings: SyncSettings, place: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(settings.destinations[place].vector_names(settings.modalities)))


def _indexes(settings: SyncSettings, place: int, vector_names: Iterable[str]) -> Iterator[VectorIndex]:
    """Names that asset keys cannot tell apart (``a-b``, ``a_b``) end in a hash, except the first of them."""
    taken: set[str] = set()
    for vector_name in vector_names:
        name = NOT_IN_KEYS.sub("_", vector_name.lower())
        if name in taken:
            name += "_" + hashlib.blake2b(vector_name.encode(errors="surrogatepass"), digest_size=4).hexdigest()
        taken.add(name)
        yield VectorIndex(settings, place, vector_name, name)


def _check_names(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ConfigurationError(f"two destinations are named {name!r}: give one of them another name")
        seen.add(name)
