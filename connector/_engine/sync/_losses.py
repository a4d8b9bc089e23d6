"""What of an asset would go when it is written as it was read, and the assets that have to be read again first.

An answer can be well-formed and hold less than there is: an empty list, a page that is missing. Such an asset is held
back and read a second time, later in the run. What both answers lack goes, within the delete guard's share.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, TypeAlias

from vectorferry.connector._config._settings import DeleteGuard
from vectorferry.connector._engine.sync._guard import changes_of, exact, read_differently
from vectorferry.connector._model._batch import Contents, MappedAsset, MappedFeature, RowCounts
from vectorferry.connector._model._last_good import rejected_features
from vectorferry.connector._model._mapping import ModalityMapping, SchemaMapping
from vectorferry.connector._model._records import Listing, Modality, Vector
from vectorferry.connector._model._storable import safe_id
from vectorferry.connector._model._vectors import dense_dimension
from vectorferry.connector._reports._summary import first_of

RowKind: TypeAlias = tuple[Modality, str | None]
"""A modality, and the name of one of its vectors; None: its features."""

REMEMBERED: Final = 50_000
"""Assets that a run reads a second time; what is beyond them is left to the next one."""

DEFAULTS: Final = SchemaMapping()
NAMED: Final = 5
KINDS_NAMED: Final = 3
_Named: TypeAlias = Mapping[str, Mapping[str, int | None]]
_Features: TypeAlias = Mapping[str, MappedFeature]


def losses(
    stored: Contents, asset: MappedAsset, modalities: frozenset[Modality], mapping: SchemaMapping = DEFAULTS
) -> Counter[RowKind] | None:
    """How many rows of each kind there would be fewer, net, if `stored` were replaced by this asset; None where nothing
    calls for a second look.

    That is fewer features of a modality or fewer vectors, and also, without any number, a feature that stays and loses
    one of its named vectors, or has it in another dimension. What `asset.rejected` names is not lost: it is set
    aside, and stays, unless the `mapping` says another dimension than is stored.
    """
    lost: Counter[RowKind] = Counter()
    suspicious = False
    for modality in modalities:
        if not stored.get(modality):  # as most have features of one modality
            continue
        now = {feature.feature_id: feature for feature in asset.features if feature.modality == modality}
        before = _without(stored[modality], asset, now, mapping.modality(modality))
        if fewer := max(0, len(before) - len(now)):
            lost[modality, None] = fewer
        for name, vectors in _fewer_vectors(before, now).items():
            lost[modality, name] = vectors
        suspicious = suspicious or any(
            _differs(named, now[feature_id].vectors) for feature_id, named in before.items() if feature_id in now
        )
    return lost if lost or suspicious else None


def _without(stored: _Named, asset: MappedAsset, now: _Features, mapping: ModalityMapping) -> _Named:
    """What is stored, but for what was set aside of this asset: a destination keeps its last good version, which is
    none where the mapping says another dimension. Of what came twice the first is not set aside."""
    here = {(feature_id, name) for feature_id, feature in now.items() for name in feature.vectors}
    whole = {each.feature_id for each in asset.rejected if not (each.vector_name or each.column)} - now.keys()
    if rejected_features(asset) is None:
        whole |= stored.keys() - now.keys()  # a record without a name may be of any that was not read
    single = {(each.feature_id, each.vector_name) for each in asset.rejected if each.vector_name} - here
    return {
        feature_id: {
            name: dimension
            for name, dimension in named.items()
            if (feature_id, name) not in single or not mapping.vector(name).takes_dimension(dimension)
        }
        for feature_id, named in stored.items()
        if feature_id not in whole
    }


def _fewer_vectors(before: _Named, now: _Features) -> Mapping[str, int]:
    """By name, how many vectors there would be fewer; none where as many of other names have come: that is another
    model, and nothing is lost."""
    had = Counter(name for named in before.values() for name in named)
    has = Counter(name for feature in now.values() for name in feature.vectors)
    fewer = had - has
    return fewer if fewer.total() > (has - had).total() else {}


def _differs(named: Mapping[str, int | None], vectors: Mapping[str, Vector]) -> bool:
    """Whether a name is missing, or of another dimension."""
    return any(
        name not in vectors or dimension not in (None, dense_dimension(vectors[name]))
        for name, dimension in named.items()
    )


@dataclass(slots=True)
class HeldBack:
    """The assets of one collection that one destination is not given before they have been read a second time.

    `listings` are those that wait for it. Of those that came with less both times, `confirmed` counts the rows that
    would go, and `ids` names the assets; they were not written, because the guard's share would not do.
    """

    mapping: SchemaMapping = field(default_factory=SchemaMapping)
    listings: dict[str, Listing] = field(default_factory=dict)
    confirmed: Counter[RowKind] = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)
    unremembered: list[str] = field(default_factory=list)
    _waiting: Counter[RowKind] = field(default_factory=Counter)
    _gone: Counter[RowKind] = field(default_factory=Counter)
    _stored: RowCounts = field(default_factory=dict)
    _share: Fraction | None = None
    _may_lose: bool = False

    def takes(self, listing: Listing, asset: MappedAsset, stored: Contents, modalities: frozenset[Modality]) -> bool:
        """Whether an asset that was read can be written. If not, it is remembered, by what it would lose."""
        lost = losses(stored, asset, modalities, self.mapping)
        if lost is None:
            return True
        if self._share is None:
            self._waiting += lost
            if len(self.listings) < REMEMBERED:
                self.listings[asset.asset_id] = listing
            else:
                self.unremembered.append(asset.asset_id)
            return False
        if not lost or (self._may_lose and self._fits(self._gone + lost)):
            self._gone += lost
            return True
        self.confirmed += lost
        self.ids.append(asset.asset_id)
        return False

    def waiting(self) -> tuple[list[Listing], Counter[RowKind]]:
        """What waits for a second look, and what it would lose; for somebody else to look at, and forgotten here."""
        waiting = list(self.listings.values()), self._waiting
        self.listings, self._waiting = {}, Counter()
        return waiting

    def wait_for(self, listings: Iterable[Listing], lost: Counter[RowKind]) -> None:
        """Remember what another worker has held back."""
        self._waiting += lost
        for listing in listings:
            if len(self.listings) < REMEMBERED:
                self.listings[listing.asset_id] = listing
            else:
                self.unremembered.append(listing.asset_id)

    def begin_second_look(self, share: float, stored: RowCounts) -> list[Listing]:
        """From now on an asset that still comes with less is believed, unless all that were held back together would
        lose more than this share of what is `stored` of the collection. What to read."""
        self._share, self._stored = exact(share), stored
        self._may_lose = self._fits(self._gone + self._waiting)
        self.confirmed, self.ids = Counter(), []
        return list(self.listings.values())

    def end_second_look(self) -> None:
        """Hold back again what is read from now on."""
        self._share = None
        self._waiting = Counter()
        self.listings = {}

    @property
    def share_gone(self) -> Fraction:
        """The largest share of any kind of rows that has gone from within assets."""
        return max((self._share_of(kind, rows) for kind, rows in self._gone.items()), default=Fraction(0))

    def refusal(self, guard: DeleteGuard, lister: str) -> str | None:
        """Why what both answers lacked does not go, and what allows it; None where the guard's share would do."""
        share, changes = guard.max_share, changes_of(guard)
        over = {kind: rows for kind, rows in (self._gone + self.confirmed).items() if rows > self._most(kind, share)}
        if not over:
            return None
        kinds = [f"{rows:,} of {self._stored.get(kind, 0):,} {_kind(kind)}" for kind, rows in over.items()]
        more = f" and more of {len(kinds) - KINDS_NAMED} other kinds" if len(kinds) > KINDS_NAMED else ""
        needed = max(self._share_of(kind, rows) for kind, rows in over.items())
        why = f", but it is {read_differently(changes)}" if changes else f", and at most {share:.0%} may"
        setting = "" if changes else ", or set deletes.max_share"
        return (
            f"{self._assets('was', 'were')} left as stored: {lister} gave less of them twice, so "
            f"{', '.join(kinds[:KINDS_NAMED])}{more} would go{why}: {self._first()}. "
            f"If that is right, allow it once with --allow-deletes {math.ceil(100 * needed) / 100:g}{setting}."
        )

    def postponed(self, lister: str) -> str:
        """What to say where the share would do after all: others were complete the second time."""
        return (
            f"{self._assets('was', 'were')} left as stored: {lister} gave less of them twice, but at first so much "
            f"seemed to be missing that the next run looks again: {self._first()}"
        )

    def _fits(self, rows: Counter[RowKind]) -> bool:
        share = self._share or Fraction(0)
        return all(number <= self._most(kind, share) for kind, number in rows.items())

    def _most(self, kind: RowKind, share: float | Fraction) -> float | Fraction:
        """All may go where the share is everything, however many there are by now."""
        of = share if isinstance(share, Fraction) else exact(share)
        return math.inf if of == 1 else of * self._stored.get(kind, 0)

    def _share_of(self, kind: RowKind, rows: int) -> Fraction:
        return Fraction(rows, max(rows, self._stored.get(kind, 0)))

    def _assets(self, one: str, many: str) -> str:
        return f"1 asset {one}" if len(self.ids) == 1 else f"{len(self.ids):,} assets {many}"

    def _first(self) -> str:
        return first_of([safe_id(asset_id) for asset_id in self.ids[:NAMED]], NAMED, len(self.ids))


def _kind(kind: RowKind) -> str:
    modality, name = kind
    return f"{modality} features" if name is None else f"{modality} vectors {name}"
