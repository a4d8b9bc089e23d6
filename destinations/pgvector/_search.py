"""Similarity queries: the statement that anyone could type, and its rows."""

from __future__ import annotations

import re
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from vectorferry.connector.plugin import (
    ConfigurationError,
    Modality,
    SearchAnswer,
    SearchQuery,
    SparseVector,
    Vector,
    canonical_json,
    closest,
    vector_literal,
)
from vectorferry.destinations._postgres import Driver
from vectorferry.destinations.pgvector._catalogue import Catalogue, VectorEntry
from vectorferry.destinations.pgvector._storage import SPARSE_DIMENSION, dimension_of

_MAX_LIMIT: Final = 100_000


def search(driver: Driver, schema: str, catalogue: Catalogue, query: SearchQuery) -> SearchAnswer:
    """Ask the search function of the query's named vector. Runs exactly the statement that it returns.

    Raises `ConfigurationError` for a question that cannot be answered.
    """
    query.check_limit(_MAX_LIMIT)
    entry = _generation(driver, schema, _named(catalogue, query), query)
    statement = _statement(schema, entry, query)
    if query.exact:
        # For the transaction, which is this search's own. Nothing else but the index of a vector has its order.
        driver.execute("SET LOCAL enable_indexscan = off")
    rows = _ask(driver, statement)
    if not rows and query.like is not None:
        _check_known(driver, schema, catalogue, entry, query)
    return SearchAnswer(statement.as_string(driver), rows, exact=query.exact)


def _ask(driver: Driver, statement: sql.Composed) -> list[dict[str, Any]]:
    """Errors here are about what the user asked for: an unknown column, a value of the wrong type or dimension."""
    try:
        with driver.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(statement).fetchall()
    except UnicodeEncodeError:
        raise ConfigurationError("the search was refused: the question holds text that is not Unicode") from None
    except (psycopg.DataError, psycopg.errors.RaiseException, psycopg.errors.UndefinedColumn) as error:
        words, hint = error.diag.message_primary or str(error), error.diag.message_hint or ""
        near = _near(words, hint)
        hint = f" ({hint}){near}" if hint else ""
        raise ConfigurationError(f"the search was refused: {words}{hint}") from error


def _near(words: str, hint: str) -> str:
    """Which of the words in a hint of ours is meant by the one that is refused."""
    refused, lists = re.findall(r'"([^"]+)"', words), re.match(r"(?:Use|Columns:) (.*)", hint)
    return closest(refused[0], re.findall(r"[\w.]+", lists[1])) if refused and lists else ""


def _named(catalogue: Catalogue, query: SearchQuery) -> list[VectorEntry]:
    """The generations of the named vector that is asked for, the current one first."""
    named = catalogue.named(query.modality)
    if not named and (others := [each.value for each in Modality if catalogue.named(each)]):
        # Another sync would not help: there may be nothing of this modality at the source.
        raise ConfigurationError(
            f"there are no {query.modality} vectors: choose one of {', '.join(others)} with --modality"
        )
    if not named:
        raise ConfigurationError(f"there are no {query.modality} vectors yet; run `vectorferry sync` first")
    matching = [name for name in named if query.vector_name in (None, name)]
    if len(matching) != 1:
        why = f"no vector named {query.vector_name}" if query.vector_name else f"{len(named)} named vectors"
        near = closest(query.vector_name or "", named)
        raise ConfigurationError(
            f"{query.modality} has {why}: choose one of {', '.join(named)} with --vector-name{near}"
        )
    generations = [entry for entry in named[matching[0]] if entry.state != "retired"]
    return sorted(generations, key=lambda entry: entry.state != "current")


def _generation(driver: Driver, schema: str, generations: list[VectorEntry], query: SearchQuery) -> VectorEntry:
    """The one that has vectors of the dimension that is given, or of the feature."""
    if query.vector is not None:
        matching = [entry for entry in generations if entry.storage.dimension == dimension_of(query.vector)]
    else:
        like = query.like if len(generations) > 1 else None
        matching = [entry for entry in generations if like is not None and _has_feature(driver, schema, entry, like)]
    return (matching or generations)[0]


def _statement(schema: str, entry: VectorEntry, query: SearchQuery) -> sql.Composed:
    function = sql.Identifier(schema, entry.layer.function)
    filters = sql.Literal(canonical_json(dict(query.filters)).decode())
    if query.like is not None:
        return _more_like(query.like, query.limit, function, sql.Identifier(schema, entry.layer.view), filters)
    vector = query.given_vector()
    _check_kind(entry, vector)
    literal = sql.Literal(vector_literal(vector, SPARSE_DIMENSION))
    return sql.SQL("SELECT * FROM {}({}, {}, {})").format(function, literal, sql.Literal(query.limit), filters)


def _check_kind(entry: VectorEntry, vector: Vector) -> None:
    """Postgres would answer with all the numbers of the vector."""
    is_stored_sparse, is_sparse = entry.storage.column_type == "sparsevec", isinstance(vector, SparseVector)
    if is_stored_sparse != is_sparse:
        kinds = {True: "sparse", False: "dense"}
        raise ConfigurationError(
            f"{entry.vector_name} of {entry.modality} is {kinds[is_stored_sparse]}, "
            f"and the vector given is {kinds[is_sparse]}"
        )


def _more_like(
    feature_id: str, limit: int, function: sql.Identifier, view: sql.Identifier, filters: sql.Literal
) -> sql.Composed:
    """One more than asked for, since a feature is nearest to itself; an id is unique only within its asset."""
    return sql.SQL(
        "SELECT hit.* FROM {view} one, {function}(one.embedding, {one_more}, {filters}) hit\n"
        "WHERE one.feature_id = {like}\n"
        "AND (hit.collection, hit.asset_id, hit.feature_id) <> (one.collection, one.asset_id, one.feature_id)\n"
        "ORDER BY hit.distance LIMIT {limit}"
    ).format(
        view=view,
        function=function,
        one_more=sql.Literal(limit + 1),
        filters=filters,
        like=sql.Literal(feature_id),
        limit=sql.Literal(limit),
    )


def _check_known(driver: Driver, schema: str, catalogue: Catalogue, entry: VectorEntry, query: SearchQuery) -> None:
    """Raise `ConfigurationError` where no feature is the one that the rows were to be like."""

    def is_stored(modality: Modality) -> bool:
        entries = [each for generations in catalogue.named(modality).values() for each in generations]
        return any(_has_feature(driver, schema, each, query.like) for each in entries if each.modality == modality)

    if not _has_feature(driver, schema, entry, query.like):
        raise query.unknown_feature(entry.vector_name, is_stored)


def _has_feature(driver: Driver, schema: str, entry: VectorEntry, feature_id: str | None) -> bool:
    view = sql.Identifier(schema, entry.layer.view)
    row = driver.execute(sql.SQL("SELECT 1 FROM {} WHERE feature_id = %s LIMIT 1").format(view), [feature_id])
    return row.fetchone() is not None
