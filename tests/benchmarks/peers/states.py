"""What the source has at each step, as files that every runner reads, and what is wrong with what a store has then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from .runners.given import Row

__all__ = ["Scenario", "State", "Stored", "Wrong", "compare"]

ROWS_PER_ASSET = 10
Stored: TypeAlias = tuple[str, str, str, float, Any]
"""Id, text, author, start, vector."""


@dataclass(frozen=True)
class State:
    """All rows of the source at one time, by id; when each asset was last changed, as a service tells; what is gone."""

    rows: Mapping[str, Row]
    changed_at: Mapping[str, str] = field(default_factory=dict)
    gone: tuple[str, ...] = ()

    def save(self, path: Path) -> None:
        """For the runners."""
        columns = zip(*self.rows.values(), strict=True)
        arrays: dict[str, Any] = dict(zip(Row._fields, map(np.array, columns), strict=True))
        np.savez(path, **arrays)

    def with_changes(self, share: float, random: np.random.Generator) -> State:
        """Another vector, text and author in this share of the rows, wherever they are."""
        dimension = len(next(iter(self.rows.values())).vector)
        ids = random.choice(list(self.rows), round(share * len(self.rows)), replace=False).tolist()
        new = {
            name: self.rows[name]._replace(author="grace", text=f"{self.rows[name].text}, seen anew", vector=vector)
            for name, vector in zip(ids, _vectors(random, len(ids), dimension), strict=True)
        }
        return replace(self, rows={**self.rows, **new}, changed_at={row.asset: "1" for row in new.values()})

    def without(self, share: float) -> State:
        """This share of the assets gone, with all their rows."""
        assets = list(dict.fromkeys(row.asset for row in self.rows.values()))
        taken = set(assets[:: round(1 / share)])
        gone = tuple(name for name, row in self.rows.items() if row.asset in taken)
        return replace(self, rows={name: row for name, row in self.rows.items() if row.asset not in taken}, gone=gone)


class Scenario:
    """The states that are loaded one after the other, and the update that is killed."""

    def __init__(self, rows: int, dimension: int) -> None:
        self.dimension = dimension
        random = np.random.default_rng(0)
        made = _rows(range(rows), random, dimension)
        self.first = State(made)
        self.changed = self.first.with_changes(0.01, random)
        self.deleted = self.changed.without(0.1)
        update = self.first.with_changes(0.3, random).without(0.1)
        self.update = replace(update, rows={**update.rows, **_rows(range(rows, rows + rows // 10), random, dimension)})


def _rows(numbers: Iterable[int], random: np.random.Generator, dimension: int) -> dict[str, Row]:
    made = [
        Row(
            f"{number:08x}-0000-4000-8000-{number:012x}",
            f"asset-{number // ROWS_PER_ASSET:06}",
            f"segment {number}: somebody says something in this part of a video",
            "ada",
            number % ROWS_PER_ASSET * 2.5,
            None,
        )
        for number in numbers
    ]
    vectors = _vectors(random, len(made), dimension)
    return {row.id: row._replace(vector=vector) for row, vector in zip(made, vectors, strict=True)}


def _vectors(random: np.random.Generator, rows: int, dimension: int) -> Any:
    return random.standard_normal((rows, dimension), dtype=np.float32)


@dataclass(frozen=True)
class Wrong:
    """How many rows of a store are not as they should be."""

    missing: int = 0
    extra: int = 0
    stale: int = 0
    twice: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.missing + self.extra + self.stale + self.twice


def compare(state: State, stored: Iterable[Stored]) -> Wrong:
    """What is wrong: not there, there though it is gone, of an earlier state, or there once more."""
    counts: Counter[str] = Counter()
    stale = set()
    for name, text, author, start, vector in stored:
        counts[name] += 1
        if (row := state.rows.get(name)) and not (
            (row.text, row.author, row.start) == (text, author, start)
            and np.array_equal(row.vector, np.array(vector, np.float32))
        ):
            stale.add(name)
    return Wrong(
        missing=len(state.rows.keys() - counts.keys()),
        extra=len(counts.keys() - state.rows.keys()),
        stale=len(stale),
        twice=sum(counts.values()) - len(counts),
    )
