"""What a batch changes in the generations of one named vector. Pure.

The value of a feature's vector is its row in the newest generation that has one and is not retired. A row that it
supersedes stays where the plain view still shows it, so that nothing is missing there while the newer generation fills.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from vectorferry.connector import Counts

from .._postgres import FeatureKey, Row, TableDiff, WantedRows, diff_table
from ._catalogue import VectorEntry

__all__ = ["HeldHashes", "count_values", "diff_generations", "values_of"]

HeldHashes: TypeAlias = Mapping[FeatureKey, bytes]
"""The hashes that a table holds of some assets' features."""


def diff_generations(
    generations: Sequence[VectorEntry], wanted: Sequence[WantedRows], held: Sequence[HeldHashes]
) -> list[TableDiff[Row]]:
    """One difference for each generation, from the oldest to the newest, of what a batch wants in it and what it holds.

    No feature is wanted in two of them, or in a retired one.
    """
    diffs = [diff_table(rows, hashes) for rows, hashes in zip(wanted, held, strict=True)]
    if len(generations) > 1:
        anywhere = set().union(*wanted)
        for entry, diff in zip(generations, diffs, strict=True):
            if entry.state != "filling":
                diff.delete = [key for key in diff.delete if key not in anywhere]
    return diffs


def values_of(generations: Sequence[VectorEntry], held: Sequence[HeldHashes]) -> dict[FeatureKey, tuple[int, bytes]]:
    """The dimension and the hash of every feature's value."""
    return {
        key: (entry.layout.dimension, digest)
        for entry, hashes in zip(generations, held, strict=True)
        if entry.state != "retired"
        for key, digest in hashes.items()
    }


def count_values(
    generations: Sequence[VectorEntry], wanted: Sequence[WantedRows], held: Sequence[HeldHashes]
) -> Counts:
    """How the values change: one that moves to another generation is updated."""
    before = values_of(generations, held)
    after = {
        key: (entry.layout.dimension, digest)
        for entry, rows in zip(generations, wanted, strict=True)
        for key, (digest, _) in rows.items()
    }
    counts = Counts(inserted=len(after.keys() - before.keys()), deleted=len(before.keys() - after.keys()))
    counts.unchanged = sum(before.get(key) == value for key, value in after.items())
    counts.updated = len(after) - counts.inserted - counts.unchanged
    return counts
