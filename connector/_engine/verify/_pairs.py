"""Two destinations against each other, by the hashes that both keep of what the source gave them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final, TypeAlias

from vectorferry.connector._engine._reader import CheckReader, SetAside
from vectorferry.connector._iterators import closing
from vectorferry.connector._model._discrepancies import (
    MOST_SLICES,
    SLICES,
    Difference,
    DigestKind,
    Discrepancy,
    SliceSums,
    StoredDigest,
    different_slices,
)
from vectorferry.connector._model._records import Modality
from vectorferry.connector._reports._verification import Finding

_Key: TypeAlias = tuple[str, str, str, str]
KEPT_BACK: Final = 100_000


async def compare_digests(
    first: CheckReader, other: CheckReader, collection: str, notes: list[str]
) -> AsyncIterator[Finding]:
    """What `other` lacks, has alone or has otherwise than `first`.

    What is in the quarantine of either is left out: the feature, the vector, or the row of the column. A named vector
    that one of the two holds nowhere in the collection is taken as one that it does not keep, and noted, like those
    whose own hash one of them does not have.

    Where both can, they sum their hashes up, and only what is in slices with other sums is read.
    """
    pairs = _Pairs(first, other, await first.set_aside(collection) | await other.set_aside(collection))
    suspects = await _suspects(pairs, first, other, collection)
    if suspects is None or suspects:
        async with closing(_merged(first, other, collection, suspects)) as merged:
            async for left, right in merged:
                if finding := pairs.compare(left, right):
                    yield finding
    for finding in pairs.late_findings():
        yield finding
    notes += pairs.notes()


class _Pairs:
    def __init__(self, first: CheckReader, other: CheckReader, set_aside: frozenset[SetAside]) -> None:
        self._first = first
        self._other = other
        self._set_aside = set_aside
        self._in_first: set[str] = set()
        self._in_other: set[str] = set()
        self._unknown = 0
        self._alone: list[Finding] = []

    def slices(self, first: SliceSums[DigestKind], other: SliceSums[DigestKind]) -> set[int]:
        """The slices in which they differ by these sums, in what both keep."""
        self._in_first |= {vector_name for _, vector_name in first}
        self._in_other |= {vector_name for _, vector_name in other}
        kept = self._common_names()
        one, two = ({kind: sums[kind] for kind in sums if kind[1] in kept} for sums in (first, other))
        return different_slices(one, two)

    def compare(self, left: StoredDigest | None, right: StoredDigest | None) -> Finding | None:
        self._in_first |= {left.vector_name} if left else set()
        self._in_other |= {right.vector_name} if right else set()
        one = left or right
        if one is None or self._is_set_aside(one):
            return None
        if left and right:
            return self._compare_digests(left, right)
        if len(self._alone) < KEPT_BACK:
            self._alone.append(self._finding(Difference.MISSING if left else Difference.EXTRA, one))
        return None

    def late_findings(self) -> list[Finding]:
        """Those that only one of the two has, of names that both keep."""
        kept = self._common_names()
        return [finding for finding in self._alone if (finding.record.vector_name or "") in kept]

    def notes(self) -> list[str]:
        """What was not compared."""
        told = [
            f"{name}: in {one.name} only, so it was not compared with {other.name}"
            for one, other, names in (
                (self._first, self._other, self._in_first - self._in_other),
                (self._other, self._first, self._in_other - self._in_first),
            )
            for name in sorted(names)
            if name
        ]
        if self._unknown:
            told.append(f"{self._unknown:,} records: {self._other.name} or {self._first.name} has no hash of their own")
        return told

    def _common_names(self) -> set[str]:
        """Of the vectors that both keep, and the empty one of rows."""
        return {"", *(self._in_first & self._in_other)}

    def _is_set_aside(self, one: StoredDigest) -> bool:
        """Two destinations may have started at different times, so that each shows another earlier version, or none."""
        return not self._set_aside.isdisjoint(
            ((one.asset_id, one.feature_id, one.vector_name), (one.asset_id, one.feature_id, None))
        )

    def _compare_digests(self, left: StoredDigest, right: StoredDigest) -> Finding | None:
        if not left.digest or not right.digest:
            self._unknown += 1
            return None
        return self._finding(Difference.DIFFERENT, right) if left.digest != right.digest else None

    def _finding(self, kind: Difference, one: StoredDigest) -> Finding:
        modality = Modality(one.modality) if one.modality else None
        record = Discrepancy(kind, one.asset_id, one.feature_id, modality, one.vector_name or None)
        return Finding(self._other.name, self._first.name, record)


async def _suspects(pairs: _Pairs, first: CheckReader, other: CheckReader, collection: str) -> Sequence[str] | None:
    """The assets of the slices in which the two differ; None where everything has to be compared."""
    slices: set[int] = set()
    for number in (1, SLICES):  # as a whole first, which mostly is all that has to be sent
        sums, other_sums = await asyncio.gather(
            first.digest_sums(collection, number), other.digest_sums(collection, number)
        )
        if sums is None or other_sums is None:
            return None
        if not (slices := pairs.slices(sums, other_sums)):
            return ()
    if len(slices) > MOST_SLICES:
        return None
    assets = await asyncio.gather(first.slice_assets(collection, slices), other.slice_assets(collection, slices))
    # Of what has come or gone meanwhile, or of a destination that only sums up, nothing may be named.
    return sorted({asset_id for each in assets for asset_id in each}) or None


async def _merged(
    first: CheckReader, other: CheckReader, collection: str, asset_ids: Sequence[str] | None
) -> AsyncIterator[tuple[StoredDigest | None, StoredDigest | None]]:
    """Both streams of these assets, or of all, side by side; None where one of them has nothing of a key."""
    async with (
        closing(_each(first, collection, asset_ids)) as lefts,
        closing(_each(other, collection, asset_ids)) as rights,
    ):
        left, right = await anext(lefts, None), await anext(rights, None)
        while left or right:
            if right is None or (left is not None and _key(left) < _key(right)):
                yield left, None
                left = await anext(lefts, None)
            elif left is None or _key(right) < _key(left):
                yield None, right
                right = await anext(rights, None)
            else:
                yield left, right
                left, right = await anext(lefts, None), await anext(rights, None)


async def _each(checked: CheckReader, collection: str, asset_ids: Sequence[str] | None) -> AsyncIterator[StoredDigest]:
    async with closing(checked.digests(collection, asset_ids)) as read:
        async for page in read:
            for one in page:
                yield one


def _key(one: StoredDigest) -> _Key:
    return one.asset_id, one.feature_id, one.modality, one.vector_name
