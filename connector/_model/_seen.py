"""Which assets a scan has listed, in eight bytes each, so that a scan of any length fits in memory."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Hashes: TypeAlias = NDArray[np.int64]


class SeenIds:
    """A set of ids, kept as sorted runs of 64-bit hashes that are merged as they grow.

    Two ids of ten million share a hash once in some 400,000 scans; the salt makes sure that it is not the same two
    in the next scan, so such an asset is late, never lost.
    """

    def __init__(self) -> None:
        self._salt = secrets.token_hex(8)
        self._runs: list[Hashes] = []

    def __len__(self) -> int:
        return sum(run.size for run in self._runs)

    def add(self, ids: Sequence[str]) -> list[bool]:
        """Add a page of ids; True for each one that was not there before."""
        hashes = self._hash(ids)
        new = ~self._holds(hashes)
        in_order = np.sort(hashes)
        if (in_order[1:] == in_order[:-1]).any():
            first = np.zeros(hashes.size, dtype=bool)
            first[np.unique(hashes, return_index=True)[1]] = True
            new &= first
        self._append(in_order if new.all() else np.sort(hashes[new]))
        flags: list[bool] = new.tolist()
        return flags

    def missing(self, ids: Sequence[str]) -> list[str]:
        """Those of these ids that were never added."""
        return [name for name, known in zip(ids, self._holds(self._hash(ids)), strict=True) if not known]

    def _hash(self, ids: Sequence[str]) -> Hashes:
        return np.fromiter(map(hash, map(self._salt.__add__, ids)), dtype=np.int64, count=len(ids))

    def _holds(self, hashes: Hashes) -> NDArray[np.bool_]:
        known = np.zeros(hashes.size, dtype=bool)
        for run in self._runs:
            at = np.searchsorted(run, hashes)
            known |= run[np.minimum(at, run.size - 1)] == hashes
        return known

    def _append(self, run: Hashes) -> None:
        while self._runs and self._runs[-1].size <= 2 * run.size:
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        if run.size:
            self._runs.append(run)
