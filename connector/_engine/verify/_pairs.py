"""Two destinations against each other, by the hashes that both keep of what the source gave them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Final, TypeAlias

from vectorferry.connector._engine._reader import CheckReader, SetAside
from vectorferry.connector._iterators import closing
from vectorferry.connector._model._discrepancies import Difference, Discrepancy, StoredDigest
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
    """
    pairs = _Pairs(first, other, await first.set_aside(collection) | await other.set_aside(collection))
    async with closing(_merged(first, other, collection)) as merged:
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
        self._in_first: Counter[str] = Counter()
        self._in_other: Counter[str] = Counter()
        self._unknown = 0
        self._alone: list[Finding] = []

    def compare(self, left: StoredDigest | None, right: StoredDigest | None) -> Finding | None:
        self._in_first.update([left.vector_name] if left else [])
        self._in_other.update([right.vector_name] if right else [])
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
        kept = {"", *(self._in_first.keys() & self._in_other.keys())}
        return [finding for finding in self._alone if (finding.record.vector_name or "") in kept]

    def notes(self) -> list[str]:
        """What was not compared."""
        told = [
            f"{name}: in {one.name} only, so it was not compared with {other.name}"
            for one, other, names in (
                (self._first, self._other, self._in_first.keys() - self._in_other.keys()),
                (self._other, self._first, self._in_other.keys() - self._in_first.keys()),
            )
            for name in sorted(names)
            if name
        ]
        if self._unknown:
            told.append(f"{self._unknown:,} records: {self._other.name} or {self._first.name} has no hash of their own")
        return told

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


async def _merged(
    first: CheckReader, other: CheckReader, collection: str
) -> AsyncIterator[tuple[StoredDigest | None, StoredDigest | None]]:
    """Both streams side by side; None where one of them has nothing of a key."""
    async with closing(_each(first, collection)) as lefts, closing(_each(other, collection)) as rights:
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


async def _each(checked: CheckReader, collection: str) -> AsyncIterator[StoredDigest]:
    async with closing(checked.digests(collection)) as read:
        async for page in read:
            for one in page:
                yield one


def _key(one: StoredDigest) -> _Key:
    return one.asset_id, one.feature_id, one.modality, one.vector_name
