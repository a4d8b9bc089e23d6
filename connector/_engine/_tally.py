"""Counts that follow from a page's decisions. Pure, but for the summary that is added to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from connector._destination import Applied, Counts, Known
from connector._engine._checks import safe_id
from connector._engine._diff import Action, Decision
from connector._records import Modality
from connector._summary import CollectionSummary

__all__ = ["note_listing", "unchanged"]

NAMED: Final = 20


def note_listing(summary: CollectionSummary, decision: Decision) -> None:
    """Count a listed asset by what happens to it; name the first of those that the source has not ready."""
    match decision.action:
        case Action.KEEP:
            summary.unchanged += 1
        case Action.WAIT:
            summary.pending_count += 1
            _name(summary.pending, decision)
        case Action.SKIP:
            summary.failed_count += 1
            _name(summary.failed, decision)
        case Action.PULL:
            summary.reread += decision.reread == decision.lacking


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


def _name(names: list[str], decision: Decision) -> None:
    if len(names) < NAMED:
        names.append(safe_id(decision.listing.asset_id))
