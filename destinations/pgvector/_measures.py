"""What the vectors of a table are like, and how many true neighbours its index finds: measured on a sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from vectorferry.connector.plugin import Modality
from vectorferry.destinations._postgres import fixed
from vectorferry.destinations.pgvector._catalogue import Catalogue, VectorEntry

DENSE: Final = frozenset({"vector", "halfvec"})
NEIGHBOURS: Final = 10
CLOSE: Final = 1e-6  # distances of halfvec and vector differ by rounding; equal ones may come in any order


@dataclass(frozen=True, slots=True)
class VectorMeasures:
    """One named vector: of the sampled `rows`, how many are `zero`, how many repeat others, the least and the greatest
    norm, and their mean. `recall` is the share of the ten true neighbours that the index finds, on average;
    None where nothing was searched."""

    modality: Modality
    vector_name: str
    rows: int
    zero: int
    repeated: int
    least_norm: float
    greatest_norm: float
    centroid: tuple[float, ...]
    recall: float | None = None


@dataclass(frozen=True, slots=True)
class Measuring:
    """A transaction, and the schema that is looked at in it. `extension` is the schema that has pgvector."""

    driver: psycopg.Connection[Any]
    schema: str
    extension: str
    catalogue: Catalogue

    def measures(self, modality: Modality, sample: int, queries: int) -> Iterator[VectorMeasures]:
        """Of the dense named vectors of a modality that hold any, as their views show them."""
        for entry in self.catalogue.of(modality):
            if entry.state == "current" and entry.storage.column_type in DENSE:
                rows, zero, distinct, least, greatest, centroid = self._sampled(entry, sample)
                if rows:
                    recall = self._recall(entry, queries) if queries else None
                    numbers = tuple(map(float, centroid.strip("[]").split(",")))
                    yield VectorMeasures(
                        modality, entry.vector_name, rows, zero, rows - distinct, least, greatest, numbers, recall
                    )

    def _sampled(self, entry: VectorEntry, sample: int) -> Any:
        statement = sql.SQL(
            "SELECT count(*), count(*) FILTER (WHERE {pgvector}.vector_norm(one) = 0), "
            "count(DISTINCT CAST(one AS text)),\n"
            "min({pgvector}.vector_norm(one)), max({pgvector}.vector_norm(one)), CAST({pgvector}.avg(one) AS text)\n"
            "FROM (SELECT CAST(embedding AS {pgvector}.vector) AS one FROM {view} LIMIT {sample}) sampled"
        ).format(pgvector=sql.Identifier(self.extension), view=self._view(entry), sample=sql.Literal(sample))
        return self.driver.execute(statement).fetchone()

    def _recall(self, entry: VectorEntry, queries: int) -> float | None:
        """Of the index alone: a search goes on where that finds too little, which takes longer and is not seen.

        Compared by distance: which of several equally near ones are found does not matter.
        """
        picked = sql.SQL("SELECT feature_id FROM {} ORDER BY md5(feature_id) LIMIT {}")
        near = sql.SQL("SELECT distance FROM {}(like_feature => %s, k => {}, mode => 'index')").format(
            sql.Identifier(self.schema, entry.layer.function), sql.Literal(NEIGHBOURS)
        )
        shares = []
        for (feature_id,) in self.driver.execute(picked.format(self._view(entry), sql.Literal(queries))).fetchall():
            if exact := self._exact(entry, feature_id):
                furthest = exact[-1] + abs(exact[-1]) * CLOSE + CLOSE
                distances = self.driver.execute(near, [feature_id]).fetchall()
                shares.append(min(1.0, sum(distance <= furthest for (distance,) in distances) / len(exact)))
        return sum(shares) / len(shares) if shares else None

    def _exact(self, entry: VectorEntry, feature_id: str) -> list[float]:
        operator = sql.SQL("OPERATOR({}.{})").format(sql.Identifier(self.extension), fixed(entry.storage.operator))
        statement = sql.SQL(
            "SELECT other.embedding {operator} one.embedding AS distance FROM {view} one, {view} other\n"
            "WHERE one.feature_id = %s AND (other.collection, other.asset_id, other.feature_id)\n"
            "<> (one.collection, one.asset_id, one.feature_id) ORDER BY distance LIMIT {limit}"
        ).format(operator=operator, view=self._view(entry), limit=sql.Literal(NEIGHBOURS))
        self.driver.execute("SET LOCAL enable_indexscan = off")
        try:
            return [distance for (distance,) in self.driver.execute(statement, [feature_id])]
        finally:
            self.driver.execute("SET LOCAL enable_indexscan = on")

    def _view(self, entry: VectorEntry) -> sql.Identifier:
        return sql.Identifier(self.schema, entry.layer.view)
