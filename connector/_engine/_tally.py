"""Counts that follow from a page's decisions. Pure, but for the summary that is added to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from vectorferry.connector._destination import Applied, Counts, Known
from vectorferry.connector._engine._checks import safe_id
from vectorferry.connector._engine._diff import Action, Decision
from vectorferry.connector._records import Modality, Rejected
from vectorferry.connector._summary import CollectionSummary

__all__ = ["note_listing", "note_unread", "tell_unread", "unchanged"]

NAMED: Final = 20
UNREAD_NAMED: Final = 5


def note_listing(summary: CollectionSummary, decision: Decision) -> None:
    """Count a listed asset by what happens to it; name the first of those that the source has not ready."""
    match decision.action:
        case Action.KEEP:
            summary.unchanged += 1
        case Action.WAIT:
            summary.pending_count += 1
            _name(summary.pending, decision.listing.asset_id)
        case Action.SKIP:
            summary.failed_count += 1
            _name(summary.failed, decision.listing.asset_id)
        case Action.PULL:
            summary.reread += decision.reread == decision.lacking


def note_unread(summary: CollectionSummary, unread: Rejected) -> None:
    """Count an asset that no usable answer came for; name the first of them, and why the very first."""
    summary.unread_count += 1
    summary.why_unread = summary.why_unread or unread.detail
    _name(summary.unread, unread.asset_id)


def tell_unread(summary: CollectionSummary) -> None:
    """Make them what they are: a failure of the collection."""
    if count := summary.unread_count:
        assets = "1 asset" if count == 1 else f"{count:,} assets"
        named = ", ".join(summary.unread[:UNREAD_NAMED])
        more = f" and {count - UNREAD_NAMED:,} more" if count > UNREAD_NAMED else ""
        stay = "stays as it is" if count == 1 else "stay as they are"
        summary.fail(
            f"{assets} could not be read and {stay} until a run can: {named}{more}. "
            f"{'It' if count == 1 else 'The first'}: {summary.why_unread}"
        )


def unchanged(
    decisions: Iterable[Decision], name: str, known: Mapping[str, Known], modalities: frozenset[Modality]
) -> Applied:
    """What one destination already has as it should be, counted from its ledger."""
    counts = Applied()
    for decision in decisions:
        if decision.action in (Action.KEEP, Action.PULL) and name not in decision.lacking:
            counts.assets.unchanged += 1
            for modality, features in known[decision.listing.asset_id].features.items():
                if modality in modalities:
                    counts.features.setdefault(modality, Counts()).unchanged += features
    return counts


def _name(names: list[str], asset_id: str) -> None:
    if len(names) < NAMED:
        names.append(safe_id(asset_id))
