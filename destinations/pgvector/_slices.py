"""A collection's slices summed up: what the ledger names, what the tables hold, and the hashes beside their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    Subquery,
    Table,
    Text,
    and_,
    cast,
    func,
    literal,
    select,
    true,
)

from vectorferry.connector.plugin import (
    MODALITIES,
    SLICES,
    DigestKind,
    SliceSums,
    different_slices,
    parse_json,
    sum_slices,
)
from vectorferry.destinations._postgres import (
    SummedRows,
    assets_in,
    digest_hashes,
    in_hex,
    key_hash,
    read_sums,
    slice_of,
    sum_up,
)
from vectorferry.destinations.pgvector._generations import is_not_superseded
from vectorferry.destinations.pgvector._rows import HASH_BYTES
from vectorferry.destinations.pgvector._schema import SyncSchema
from vectorferry.destinations.pgvector._stored import with_visible
from vectorferry.destinations.pgvector._tables import FEATURE_KEY, visible

_KeyKind: TypeAlias = tuple[str, str, int]
"""Modality, vector name and dimension; empty and 0 of the row of a feature, and of that of an asset."""


class _Rows(NamedTuple):
    """The rows of a table that count; of vectors, those whose feature is not hidden among `features`."""

    table: Table
    kind: _KeyKind
    shown: ColumnElement[bool]
    features: Table | None = None

    def among_visible(self) -> _Rows:
        """The same without those whose feature is hidden."""
        if self.features is None:
            return self
        return self._replace(shown=and_(with_visible(self.table, self.features), self.shown))

    def key(self, collection: str) -> ColumnElement[int]:
        """A hash of the ids of a row."""
        key: ColumnElement[int] | None = self.table.c.get(FEATURE_KEY)
        return key_hash(literal(collection, Text), self.table.c.asset_id) if key is None else key

    @property
    def digest(self) -> ColumnElement[str]:
        """The hash of what the source gave."""
        digest: ColumnElement[bytes] | None = self.table.c.get("row_hash")
        return in_hex(func.substr(self.table.c.vector_hash, 1, HASH_BYTES) if digest is None else digest)


class SliceReader:
    """Sums up one collection as one transaction sees it. What is hidden or superseded counts as not there."""

    def __init__(self, connection: Connection, schema: SyncSchema, collection: str) -> None:
        # Read again: another process may have met a new named vector since this one was prepared.
        schema.read_catalogue(connection)
        self._connection = connection
        self._schema = schema
        self._collection = collection

    def unlike_ledger(self) -> Set[int]:
        """The slices in which the tables hold other records than the ledger names."""
        numbers: Set[int] = set()
        for slices in (1, SLICES):
            numbers = different_slices(self._stored_keys(slices), self._recorded_keys(slices))
            if not numbers:
                break
        return numbers

    def digests(self, slices: int) -> SliceSums[DigestKind]:
        """The hashes of rows and vectors as the source had them, which stand beside them, in so many slices."""
        return self._stored(
            slices, lambda rows: rows.kind[:2], lambda rows: digest_hashes(rows.digest, rows.key(self._collection))
        )

    def assets(self, slices: Set[int]) -> list[str]:
        """The assets of some slices that any table names, sorted."""
        tables = [self._schema.tables.ledger, *(rows.table for rows in self._rows())]
        return assets_in(self._connection, tables, self._collection, slices)

    def _rows(self) -> Iterator[_Rows]:
        schema, assets = self._schema, self._schema.tables.assets
        yield _Rows(assets, ("", "", 0), visible(assets))
        for modality in MODALITIES:
            features = schema.features[modality]
            yield _Rows(features, (modality.value, "", 0), visible(features))
            for entry in schema.catalogue.live(modality):
                vectors = schema.vector_table(entry)
                kind = (modality.value, entry.vector_name, entry.storage.dimension)
                yield _Rows(vectors, kind, is_not_superseded(schema, entry, vectors), features)

    def _stored_keys(self, slices: int) -> SliceSums[_KeyKind]:
        return self._stored(slices, lambda rows: rows.kind, lambda rows: [rows.key(self._collection)])

    def _stored(
        self,
        slices: int,
        kind_of: Callable[[_Rows], tuple[Any, ...]],
        hashes_of: Callable[[_Rows], Sequence[ColumnElement[int]]],
    ) -> SliceSums[Any]:
        """Features first. That also tells where none is hidden, and of those the vectors need not be looked up among
        the hidden ones: that takes twice as long as adding them up."""
        tables = [*self._rows()]
        described = [each for each in tables if each.features is None]
        vectors = [each for each in tables if each.features is not None]

        def read(rows: Sequence[_Rows]) -> list[SummedRows]:
            summed = (self._sum_up(each, kind_of(each), slices, hashes_of(each)) for each in rows)
            return list(read_sums(self._connection, summed)) if rows else []

        sums = read(described)
        hidden = {each.kind[0] for each in sums if each.others}
        sums += read([each.among_visible() if each.kind[0] in hidden else each for each in vectors])
        return sum_slices((each.kind, each.number, each.sum) for each in sums)

    def _recorded_keys(self, slices: int) -> SliceSums[_KeyKind]:
        """The same of what the ledger names. Features that have the same vectors are one entry of it, and are summed up
        once for themselves and these."""
        assets = _Rows(self._schema.tables.ledger, ("", "", 0), true())
        asset_sums = self._sum_up(assets, assets.kind, slices, [assets.key(self._collection)])
        recorded = [(each.kind, each.number, each.sum) for each in read_sums(self._connection, [asset_sums])]
        for (modality, vectors), number, each, _ in read_sums(self._connection, [self._feature_sums(slices)]):
            kinds = [("", 0), *parse_json(vectors.encode())]
            recorded += [((modality, vector_name, dimension), number, each) for vector_name, dimension in kinds]
        return sum_slices(recorded)

    def _feature_sums(self, slices: int) -> Select[Any]:
        ledger = self._asset_contents(slices)
        modality = func.jsonb_each(ledger.c.contents).table_valued("key", "value", name="modality")
        pair = func.jsonb_array_elements(modality.c.value).table_valued("value", name="pair")
        vectors, ids = (pair.c.value.op("->")(place) for place in (0, 1))
        feature = func.jsonb_array_elements_text(ids).table_valued("value", name="feature")
        # Entry by entry first: grouping every feature by the names of its vectors takes as long again.
        entry = (
            select(func.sum(key_hash(feature.c.value, of=ledger.c.key)).label("keys")).select_from(feature).lateral()
        )
        kind = [modality.c.key, cast(vectors, Text)]
        summed = sum_up(kind, ledger.c.number, [entry.c["keys"]], records=func.sum(func.jsonb_array_length(ids)))
        entries = ledger.join(modality, true()).join(pair, true()).join(entry, true())
        return summed.select_from(entries).where(func.jsonb_array_length(modality.c.value) > 0)

    def _asset_contents(self, slices: int) -> Subquery:
        """What the ledger names, and of each asset the hash of its ids and its slice."""
        ledger = self._schema.tables.ledger
        key = key_hash(literal(self._collection, Text), ledger.c.asset_id).label("key")
        number = slice_of(self._collection, ledger.c.asset_id, slices).label("number")
        of_collection = select(ledger.c.contents, key, number).where(ledger.c.collection == self._collection)
        return of_collection.offset(0).subquery()  # or Postgres would work them out for each feature again

    def _sum_up(
        self, rows: _Rows, kind: Sequence[str | int], slices: int, hashes: Sequence[ColumnElement[int]]
    ) -> Select[Any]:
        constants = [literal(each, Text if isinstance(each, str) else Integer) for each in kind]
        number = slice_of(self._collection, rows.table.c.asset_id, slices)
        of_collection = rows.table.c.collection == self._collection
        if rows.features is None:
            return sum_up(constants, number, hashes, which=rows.shown).where(of_collection)
        return sum_up(constants, number, hashes).where(of_collection, rows.shown)
