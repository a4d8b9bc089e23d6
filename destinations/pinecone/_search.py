"""Similarity queries: the call of the SDK that anyone could make, and its hits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from vectorferry.connector.plugin import (
    ConfigurationError,
    SearchAnswer,
    SearchQuery,
    SparseVector,
    Vector,
    closest,
)
from vectorferry.destinations.pinecone._ids import record_id
from vectorferry.destinations.pinecone._manifest import Manifest
from vectorferry.destinations.pinecone._manifest_tables import IndexRow
from vectorferry.destinations.pinecone._metadata import plain_value
from vectorferry.destinations.pinecone._reader import IndexReader, Match

_MAX_LIMIT: Final = 9_999
"""One less than Pinecone answers with: a feature is nearest to itself."""
_OPERATORS: Final = frozenset({"eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "exists"})


def index_for(query: SearchQuery, indexes: Iterable[IndexRow], manifest: Manifest) -> IndexRow:
    """The one index that a query is about. Raises `ConfigurationError` when it could be none or several."""
    known = list(indexes)
    rows = [row for row in known if query.vector_name in (None, row.vector_name)]
    if query.vector is not None and len(rows) > 1:
        rows = [row for row in rows if row.dimension == getattr(query.vector, "size", None)] or rows
    if len(rows) > 1:  # an index outlives its records, and modalities may differ in their metric
        filled = manifest.indexes_of(query.modality)
        rows = [row for row in rows if row.name in filled] or rows
    if len(rows) == 1:
        return rows[0]
    names = ", ".join(sorted({row.vector_name for row in known}))
    if not known:
        problem = "there are no vectors in Pinecone yet; run `vectorferry sync` first"
    elif not rows:
        near = closest(query.vector_name or "", names.split(", "))
        problem = f"there is no index for {query.vector_name}: choose one of {names} with --vector-name{near}"
    elif len({row.vector_name for row in rows}) > 1:
        problem = f"there are {len(rows)} indexes for this search: choose one of {names} with --vector-name"
    else:
        problem = (
            f"there are {len(rows)} indexes for {rows[0].vector_name}, of several dimensions or metrics: "
            "ask with --vector and a vector of one of their dimensions"
        )
    raise ConfigurationError(problem)


class Searcher:
    """Asks the namespaces of one index.

    Raises `ConfigurationError` for a question that cannot be answered.
    """

    def __init__(self, manifest: Manifest, row: IndexRow, reader: IndexReader) -> None:
        self._manifest = manifest
        self._row = row
        self._reader = reader

    def search(self, query: SearchQuery) -> SearchAnswer:
        """The nearest features, nearest first."""
        query.check_limit(_MAX_LIMIT)
        filters = dict(query.filters)
        named = isinstance(filters.get("collection"), str)  # anything else is asked of the metadata
        by_collection = self._namespaces(filters.pop("collection") if named else None)
        namespaces = [*by_collection.values()]
        vector, itself = self._near(query)
        conditions = {"modality": {"$eq": query.modality.value}, **pinecone_filters(filters)}
        limit = query.limit + (itself is not None)  # a feature is nearest to itself
        matches = self._reader.query(namespaces, vector, limit, conditions) if namespaces else []
        rows = [_row(match) for match in matches if (match.metadata.get("collection"), match.record_id) != itself]
        return SearchAnswer(self._statement(namespaces, vector, limit, conditions), rows[: query.limit], "python")

    def _namespaces(self, collection: object = None) -> dict[str, str]:
        """By collection; of all of them, or of this one."""
        rows = [row for row in self._manifest.namespaces() if row.index == self._row.name]
        return {row.collection: row.namespace for row in rows if collection in (None, row.collection)}

    def _near(self, query: SearchQuery) -> tuple[Vector, tuple[str, str] | None]:
        """What to be near to; and the collection and id of the record that it is the vector of."""
        if (like := query.like) is None:
            self._check_kind(vector := query.given_vector())
            return vector, None
        namespaces = self._namespaces()
        for collection, asset_id in self._manifest.find(like, query.modality):
            identifier = record_id(asset_id, like)
            stored = self._stored(namespaces[collection], identifier) if collection in namespaces else None
            if stored is not None:
                return stored, (collection, identifier)
        named = f"{self._row.vector_name} in Pinecone"
        raise query.unknown_feature(named, lambda modality: bool(self._manifest.find(like, modality)))

    def _stored(self, namespace: str, identifier: str) -> Vector | None:
        record = self._reader.fetch(namespace, [identifier]).get(identifier)
        if record is None:
            return None
        return record.sparse if self._row.dimension is None else record.dense

    def _check_kind(self, vector: Vector) -> None:
        dimension = None if isinstance(vector, SparseVector) else len(vector)
        if dimension != self._row.dimension:
            raise ConfigurationError(
                f"the index {self._row.name} holds vectors {_described(self._row.dimension)}, not "
                f"{_described(dimension)}"
            )

    def _statement(self, namespaces: Sequence[str], vector: Vector, limit: int, filters: Mapping[str, Any]) -> str:
        return (
            f'Pinecone().Index("{self._row.name}").query_namespaces(\n'
            f"    {_argument(vector)},\n"
            f"    namespaces={namespaces!r}, metric={self._row.metric!r}, top_k={limit},\n"
            f"    filter={dict(filters)!r}, include_metadata=True,\n)"
        )


def _described(dimension: int | None) -> str:
    return "that are sparse" if dimension is None else f"of {dimension:,} dimensions"


def _argument(vector: Vector) -> str:
    if isinstance(vector, SparseVector):
        return f"sparse_vector={{'indices': {vector.indices.tolist()}, 'values': {_numbers(vector.values)}}}"
    return f"vector={_numbers(vector)}"


def _numbers(values: Any) -> str:
    return "[" + ", ".join(str(value) for value in values) + "]"


def _row(match: Match) -> dict[str, Any]:
    named = {key: value for key, value in match.metadata.items() if not key.startswith("metadata.")}
    return {**named, "metadata": _nested(match.metadata), "score": match.score}


def _nested(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {key.removeprefix("metadata."): v for key, v in metadata.items() if key.startswith("metadata.")}


def pinecone_filters(filters: Mapping[str, Any]) -> dict[str, Any]:
    """The filters that the SQL functions take, as Pinecone says them: ``{"start_time": {"lt": 10}}``."""
    return dict(_clauses(filters))


def _clauses(filters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in filters.items():
        if not isinstance(value, Mapping):
            yield prefix + key, {"$in" if isinstance(value, list) else "$eq": _operand(value)}
        elif value and value.keys() <= _OPERATORS:
            yield prefix + key, {f"${operator}": _operand(operand) for operator, operand in value.items()}
        else:
            yield from _clauses(value, f"{prefix}{key}.")


def _operand(value: Any) -> Any:
    """As it is in the metadata, where large integers are texts."""
    if isinstance(value, list):
        return [_operand(item) for item in value]
    return plain_value(value) if isinstance(value, int) else value
