"""What to do with each listed asset, decided from the listing and the ledgers alone. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from connector._destination import Known
from connector._records import AssetState, Listing, Modality

__all__ = ["Action", "Decision", "diff", "holds", "ledger_fingerprint"]


class Action(StrEnum):
    """What happens to a listed asset."""

    KEEP = "keep"  # every destination has it as it is
    PULL = "pull"  # at least one destination lacks it
    WAIT = "wait"  # the source has not finished it; old rows stay
    SKIP = "skip"  # the source failed on it; old rows stay


@dataclass(frozen=True, slots=True)
class Decision:
    """One listed asset, what happens to it, and which destinations (by name) lack it.

    Those of `reread` lack it for no other reason than that its turn to be read again has come.
    """

    listing: Listing
    action: Action
    lacking: frozenset[str] = frozenset()
    reread: frozenset[str] = frozenset()


def ledger_fingerprint(fingerprint: str, mapping_digest: str, turn: str = "") -> str:
    """What ledgers hold of an asset: changes with the source's fingerprint, and when the mapping changes. What changes
    with the asset's turn stands apart from that, after a dot."""
    content = _digest(f"{mapping_digest}\0{fingerprint}", 16)
    return f"{content}.{_digest(turn, 4)}" if turn else content


def diff(
    page: Iterable[Listing],
    known: Mapping[str, Mapping[str, Known]],
    mapping_digest: str,
    modalities: frozenset[Modality],
) -> list[Decision]:
    """Decide for each listing of a page. `known` holds the ledger's answer per destination and asset id."""
    return [_decide(listing, known, mapping_digest, modalities) for listing in page]


def _decide(
    listing: Listing,
    known: Mapping[str, Mapping[str, Known]],
    mapping_digest: str,
    modalities: frozenset[Modality],
) -> Decision:
    if listing.state is AssetState.PENDING:
        return Decision(listing, Action.WAIT)
    if listing.state is AssetState.FAILED:
        return Decision(listing, Action.SKIP)
    wanted = ledger_fingerprint(listing.fingerprint, mapping_digest, listing.turn)
    entries = {name: ledger.get(listing.asset_id) for name, ledger in known.items()}
    lacking = frozenset(name for name, entry in entries.items() if not holds(entry, wanted, modalities))
    reread = frozenset(name for name in lacking if _seems_unchanged(entries[name], wanted, modalities))
    return Decision(listing, Action.PULL if lacking else Action.KEEP, lacking, reread)


def holds(entry: Known | None, fingerprint: str, modalities: frozenset[Modality]) -> bool:
    """Whether a ledger's entry says that these modalities were synced under this fingerprint."""
    return entry is not None and entry.fingerprint == fingerprint and modalities <= entry.modalities


def _seems_unchanged(entry: Known | None, wanted: str, modalities: frozenset[Modality]) -> bool:
    return entry is not None and _content(entry.fingerprint) == _content(wanted) and modalities <= entry.modalities


def _content(ledger_fingerprint: str) -> str:
    return ledger_fingerprint.partition(".")[0]


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()
