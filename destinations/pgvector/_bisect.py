"""Writing around the records that Postgres refuses.

What the checks let through, an index, a constraint or a trigger that somebody has added to a table may still refuse.
Then the batch is written again by halves, in savepoints of one transaction, until the culprit is alone and set aside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Final, TypeAlias, TypeVar

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from vectorferry.connector.plugin import (
    Applied,
    Batch,
    DestinationError,
    MappedAsset,
    MappedFeature,
    Reason,
    Rejected,
    without_rejected,
)
from vectorferry.destinations._postgres import refusal

# What a deferred constraint refuses would else come to light when it is too late to ask for the culprit.
_CHECK_AT_ONCE: Final = text("SET CONSTRAINTS ALL IMMEDIATE")
_ALWAYS_ACCEPTABLE: Final = 100
_ACCEPTABLE_SHARE: Final = 10
"""Of so many records one may be refused; where more are, the table is at fault, and all of it would be set aside."""

_DATABASE_ERRORS: Final = (psycopg.Error, SQLAlchemyError)
_Begin: TypeAlias = Callable[[], AbstractContextManager[Connection]]
_Write: TypeAlias = Callable[[Connection, Batch], Applied]
Item = TypeVar("Item")


def write_around(begin: _Begin, write: _Write, batch: Batch) -> Applied:
    """Write a batch in one transaction, all or nothing but for single records that Postgres refuses: those are set
    aside with its words.

    One of n costs a second transaction and about 2·log2(n) savepoints in it. Raises database errors as they are,
    and `DestinationError` when more than a tenth of the records (and more than 100) are refused.
    """
    try:
        with begin() as connection:
            return write(connection, batch)
    except _DATABASE_ERRORS as error:
        words = refusal(error)
        if words is None:
            raise
    with begin() as connection:
        connection.execute(_CHECK_AT_ONCE)
        return _Bisection(connection, write, batch).carry_out(words)


class _Bisection:
    """A batch that was refused as a whole, in a transaction that goes on."""

    def __init__(self, connection: Connection, write: _Write, batch: Batch) -> None:
        self._connection = connection
        self._write = write
        self._batch = batch
        self._applied = Applied()
        self._refused = 0
        self._acceptable = max(_ALWAYS_ACCEPTABLE, _rows(batch) // _ACCEPTABLE_SHARE)

    def carry_out(self, words: str) -> Applied:
        """Write what can be written; Postgres has refused all of it together with these words."""
        if self._batch.rejected:
            self._applied += self._write(self._connection, replace(self._batch, assets=()))
        self._narrow(self._batch.assets, words)
        return self._applied

    def _narrow(self, assets: Sequence[MappedAsset], words: str) -> None:
        if len(assets) == 1:
            self._write_alone(assets[0], words)
            return
        for half in _halves(assets):
            if refused := self._attempt(half):
                self._narrow(half, refused)

    def _write_alone(self, asset: MappedAsset, words: str) -> None:
        if refused := self._attempt([replace(asset, features=())], keep=False):
            self._set_aside(asset, refused)
            return
        rejected = [*self._refused_features(asset, asset.features, words)]
        if refused := self._attempt([without_rejected(asset, rejected)]):
            self._set_aside(asset, refused)

    def _refused_features(
        self, asset: MappedAsset, features: Sequence[MappedFeature], words: str
    ) -> Iterator[Rejected]:
        if len(features) == 1:
            self._count(words)
            yield from self._refused_parts(asset, features[0], words)
            return
        for half in _halves(features):
            if refused := self._attempt([replace(asset, features=tuple(half))], keep=False):
                yield from self._refused_features(asset, half, refused)

    def _refused_parts(self, asset: MappedAsset, feature: MappedFeature, words: str) -> list[Rejected]:
        """The vectors of a feature that are refused, where its row is taken; else the whole feature."""
        whole = Rejected(asset.asset_id, Reason.REFUSED, words, feature.feature_id, feature.modality)
        if not feature.vectors or self._attempt_alone(asset, feature, ()):
            return [whole]
        refusals = {name: self._attempt_alone(asset, feature, (name,)) for name in feature.vectors}
        return [replace(whole, detail=why, vector_name=name) for name, why in refusals.items() if why] or [whole]

    def _attempt_alone(self, asset: MappedAsset, feature: MappedFeature, names: Sequence[str]) -> str | None:
        """Write one feature with these vectors only, and keep nothing of it."""
        vectors = {name: feature.vectors[name] for name in names}
        hashes = {name: feature.vector_hashes[name] for name in names}
        part = replace(feature, vectors=vectors, vector_hashes=hashes)
        return self._attempt([replace(asset, features=(part,))], keep=False)

    def _set_aside(self, asset: MappedAsset, words: str) -> None:
        """The asset as a whole; its old rows stay."""
        self._count(words)
        record = Rejected(asset.asset_id, Reason.REFUSED, words, modality=asset.modality or "")
        batch = replace(self._batch, assets=(), rejected=(record,))
        self._applied += self._write(self._connection, batch)

    def _attempt(self, assets: Sequence[MappedAsset], *, keep: bool = True) -> str | None:
        """Write these assets; what Postgres says when it refuses them, and then nothing of them is written."""
        try:
            with self._connection.begin_nested() as savepoint:
                applied = self._write(self._connection, replace(self._batch, assets=tuple(assets), rejected=()))
                if not keep:
                    savepoint.rollback()
                    return None
        except _DATABASE_ERRORS as error:
            if (words := refusal(error)) is None:
                raise
            return words
        self._applied += applied
        return None

    def _count(self, words: str) -> None:
        self._refused += 1
        if self._refused > self._acceptable:
            raise DestinationError(
                f"Postgres refuses more than {self._acceptable:,} of the {_rows(self._batch):,} records of a batch: "
                f"{words}\nThat is the table rather than the data: look at the indexes, constraints and triggers that "
                "were added to it. Nothing of the batch was kept."
            )


def _halves(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """None of them empty."""
    middle = len(items) // 2
    return (half for half in (items[:middle], items[middle:]) if half)


def _rows(batch: Batch) -> int:
    return sum(max(1, len(asset.features)) for asset in batch.assets)
