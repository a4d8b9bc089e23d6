"""What to do with each listed asset, decided from the listing and the ledgers alone. Pure but for a clock."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from vectorferry.connector._model._mapping import ledger_fingerprint
from vectorferry.connector._model._records import AssetState, Listing, Modality
from vectorferry.connector._protocols._destination import Known

DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Reread:
    """Which assets are read although they seem unchanged: all of them or those of these ids, now, and each one once in
    so many `days` (None: never), at a time of its own."""

    days: float | None = None
    everything: bool = False
    asset_ids: frozenset[str] = frozenset()
    clock: Callable[[], float] = time.time

    @property
    def now(self) -> bool:
        """Whether anything is to be read by this very run."""
        return self.everything or bool(self.asset_ids)

    def asks_for(self, asset_id: str) -> bool:
        """Whether this asset is to be read by this very run."""
        return self.everything or asset_id in self.asset_ids

    def turn(self, asset_id: str, own: str = "") -> str:
        """The asset's `own` turn, behind a number that goes up by one whenever it is to be read again."""
        if self.days is None:
            return own
        period = self.days * DAY
        share = int.from_bytes(hashlib.blake2b(asset_id.encode("utf-8", "replace"), digest_size=6).digest()) / 2**48
        number = str(int((self.clock() + share * period) // period))
        return f"{number} {own}" if own else number


NEVER: Final = Reread()


class Action(StrEnum):
    """What happens to a listed asset."""

    KEEP = "keep"  # every destination has it as it is
    PULL = "pull"  # at least one destination lacks it
    WAIT = "wait"  # the source has not finished it; old rows stay
    SKIP = "skip"  # the source failed on it; old rows stay


class Decision(NamedTuple):
    """One listed asset, what happens to it, and which destinations (by name) lack it.

    Those of `reread` have it as it seems to be, and it is read again for no other reason than that this was asked for
    or that its turn has come.
    """

    listing: Listing
    action: Action
    lacking: frozenset[str] = frozenset()
    reread: frozenset[str] = frozenset()


def diff(
    page: Iterable[Listing],
    known: Mapping[str, Mapping[str, Known]],
    mapping_digest: str,
    modalities: frozenset[Modality],
    reread: Reread = NEVER,
) -> list[Decision]:
    """Decide for each listing of a page. `known` holds the ledger's answer per destination and asset id."""
    are_new = not any(known.values())  # as in a first load: there is nothing to compare
    return [_decide(listing, known, mapping_digest, modalities, reread, is_new=are_new) for listing in page]


def _decide(
    listing: Listing,
    known: Mapping[str, Mapping[str, Known]],
    mapping_digest: str,
    modalities: frozenset[Modality],
    reread: Reread,
    *,
    is_new: bool,
) -> Decision:
    if listing.state is not AssetState.READY:
        return Decision(listing, Action.WAIT if listing.state is AssetState.PENDING else Action.SKIP)
    asset_id = listing.asset_id
    if is_new:
        return Decision(listing, Action.PULL if known else Action.KEEP, frozenset(known))
    turn = listing.turn if reread.days is None else reread.turn(asset_id, listing.turn)
    fingerprint = ledger_fingerprint(listing.fingerprint, mapping_digest, turn)
    asked_for = reread.now and reread.asks_for(asset_id)
    lacking = [
        name for name, ledger in known.items() if asked_for or not holds(ledger.get(asset_id), fingerprint, modalities)
    ]
    if not lacking:
        return Decision(listing, Action.KEEP)
    seeming = [name for name in lacking if _seems_unchanged(known[name].get(asset_id), fingerprint, modalities)]
    return Decision(listing, Action.PULL, frozenset(lacking), frozenset(seeming))


def holds(entry: Known | None, fingerprint: str, modalities: frozenset[Modality]) -> bool:
    """Whether a ledger's entry says that these modalities were synced under this fingerprint."""
    return entry is not None and entry.fingerprint == fingerprint and modalities <= entry.modalities


def _seems_unchanged(entry: Known | None, fingerprint: str, modalities: frozenset[Modality]) -> bool:
    return (
        entry is not None
        and content_of(entry.fingerprint) == content_of(fingerprint)
        and modalities <= entry.modalities
    )


def content_of(ledger_fingerprint: str) -> str:
    """What of it changes with the asset and the mapping, and not with the asset's turn."""
    return ledger_fingerprint.partition(".")[0]
