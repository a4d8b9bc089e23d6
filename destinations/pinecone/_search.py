"""Similarity queries: the call of the SDK that anyone could make, and its hits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

from connector import ConfigurationError, SearchAnswer, SearchQuery, SparseVector, Vector

from ._ids import record_id
from ._manifest import IndexRow, Manifest
from ._reader import IndexReader, Match

__all__ = ["Searcher"]

_MAX_LIMIT: Final = 10_000
_OPERATORS: Final = frozenset({"eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "exists"})


@dataclass(frozen=True, slots=True)
class Place:
    """One namespace of the index that is searched, and the collection in it."""

    collection: str
    namespace: str


class Searcher:
    """Asks every namespace of one index, and merges what they answer.

    Raises `ConfigurationError` for a question that cannot be answered.
    """

    def __init__(self, manifest: Manifest, row: IndexRow, reader: IndexReader) -> None:
        self._manifest = manifest
        self._row = row
        self._reader = reader

    def search(self, query: SearchQuery) -> SearchAnswer:
        """The nearest features, nearest first."""
        if not 1 <= query.limit < _MAX_LIMIT:
            raise ConfigurationError(f"the limit is {query.limit}; ask for 1 to {_MAX_LIMIT - 1:,} rows")
        if query.vector is None and query.like is None:
            raise ConfigurationError("a search needs a feature to be like (--like) or a vector (--vector)")
        filters = dict(query.filters)
        places = self._places(filters.pop("collection", None))
        vector, itself = self._near(query)
        asked = {"modality": {"$eq": query.modality.value}, **_pinecone_filters(filters)}
        more = query.limit + (itself is not None)  # a feature is nearest to itself
        hits = [
            (place, match)
            for place in places
            for match in self._reader.query(place.namespace, vector, more, asked)
            if (place.namespace, match.record_id) != itself
        ]
        statement = "\n".join(self._statement(place, vector, more, asked) for place in places)
        return SearchAnswer(statement, self._nearest(hits, query.limit), "python")

    def _places(self, wanted: object) -> list[Place]:
        rows = [row for row in self._manifest.namespaces() if row.index == self._row.name]
        return [Place(row.collection, row.namespace) for row in rows if wanted in (None, row.collection)]

    def _near(self, query: SearchQuery) -> tuple[Vector, tuple[str, str] | None]:
        """What to be near to; and the namespace and id of the record that it is the vector of."""
        if query.like is None:
            assert query.vector is not None
            self._check_kind(query.vector)
            return query.vector, None
        namespaces = {place.collection: place.namespace for place in self._places(None)}
        for collection, asset_id in self._manifest.find(query.like, query.modality):
            if namespace := namespaces.get(collection):
                place = (namespace, record_id(asset_id, query.like))
                if found := self._reader.fetch(namespace, [place[1]]).get(place[1]):
                    vector = found.sparse if self._row.dimension is None else found.dense
                    if vector is not None:
                        return vector, place
        raise ConfigurationError(
            f"no {query.modality} feature {query.like} has a vector named {self._row.vector_name} in Pinecone"
        )

    def _check_kind(self, vector: Vector) -> None:
        dimension = None if isinstance(vector, SparseVector) else len(vector)
        if dimension != self._row.dimension:
            raise ConfigurationError(
                f"the vector {_described(dimension)}, the index {self._row.name} holds vectors that are or have: "
                f"{_described(self._row.dimension)}"
            )

    def _nearest(self, hits: Sequence[tuple[Place, Match]], limit: int) -> Sequence[Mapping[str, Any]]:
        rows = [{"collection": place.collection, **_row(match)} for place, match in hits]
        near_is_high = self._row.metric != "euclidean"  # there the score is the squared distance
        return sorted(rows, key=itemgetter("score"), reverse=near_is_high)[:limit]

    def _statement(self, place: Place, vector: Vector, limit: int, filters: Mapping[str, Any]) -> str:
        return (
            f'Pinecone().Index("{self._row.name}").query(namespace={place.namespace!r}, {_said(vector)}, '
            f"top_k={limit}, filter={dict(filters)!r}, include_metadata=True)"
        )


def _described(dimension: int | None) -> str:
    return "is sparse" if dimension is None else f"has {dimension:,} dimensions"


def _said(vector: Vector) -> str:
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


def _pinecone_filters(filters: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The filters that the SQL functions take, as Pinecone says them: ``{"start_time": {"lt": 10}}``."""
    return dict(_clauses(filters, prefix))


def _clauses(filters: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in filters.items():
        if not isinstance(value, Mapping):
            yield prefix + key, {"$in": list(value)} if isinstance(value, list) else {"$eq": value}
        elif value and value.keys() <= _OPERATORS:
            yield prefix + key, {f"${operator}": operand for operator, operand in value.items()}
        else:
            yield from _clauses(value, f"{prefix}{key}.")
