"""The functions that every schema has, whatever its named vectors are: made of `functions.sql`, and described."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Final, TypeAlias

from psycopg import sql
from sqlalchemy import Connection, TextClause, literal_column, select, text

from vectorferry.connector.plugin import MODALITIES, Modality, SchemaMapping
from vectorferry.destinations._postgres import Step, driver_of, fixed, statement
from vectorferry.destinations.pgvector._grants import check_functions_alone, function_grants, grants_on_new
from vectorferry.destinations.pgvector._schema import full_text, full_text_query
from vectorferry.destinations.pgvector._storage import SPARSE_DIMENSION

_FILTERS: Final = ("compare", "condition", "where")
_SEARCHES: Final = (
    *("check_search", "feature", "question", "diverse", "scans", "plan"),
    *("probes", "effort", "search", "named", "hybrid"),
)
_PUBLIC: Final = ("search_many", "near_duplicates", "search_assets", "explain_search", "evaluate_recall")

_PARTS: Final[Mapping[str, str]] = {
    **{f"_sync_{part}": part for part in (*_FILTERS, *_SEARCHES)},
    **{part: part for part in _PUBLIC},
    **{f"hybrid_{modality.value}": "hybrid_search" for modality in MODALITIES},
}
"""By function, the part of `functions.sql` that it is made of. People call those whose names do not begin with
`_sync_`."""

_QUICK: Final[Mapping[str, int]] = {
    "quick_candidates": 60,  # at least, and this many more than are asked for:
    "quick_spare": 20,
    "quick_effort": 10,  # hnsw.ef_search of one pass, at least, and this part of what is asked for:
    "quick_share": 5,
    "sure": 30,  # how many of the nearest are to have come first, at least
}
"""What a search without a filter looks at before it is sure, in the plain query and in its explanation alike. Of these,
0.977 of the true neighbours are found where nothing lies in clusters, 0.999 where it does; with 40 candidates and 10 of
the nearest it was 0.942 (tests/benchmarks/test_recall.py)."""

_MARKED: Final = "_sync_search"

# Whoever makes a function of the same name for something else has no such first argument.
_STORED: Final = text("""
SELECT p.oid::regprocedure::text, p.proname, obj_description(p.oid, 'pg_proc'), ARRAY(
    SELECT name || ' ' || format_type(type, NULL)
    FROM unnest(p.proargnames, coalesce(p.proallargtypes, p.proargtypes::oid[])) AS each (name, type)),
    encode(sha256(convert_to(p.prosrc, 'UTF8')), 'hex'),
    CASE WHEN NOT pg_has_role(p.proowner, 'USAGE') THEN pg_get_userbyid(p.proowner) END
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = :schema AND p.proname = ANY(:names)
AND (starts_with(p.proname, '_sync_') OR p.proargnames[1] IN ('named_vector', 'query_text')) ORDER BY 1
""")


def function_names() -> list[str]:
    """Every function of a schema that belongs to no named vector."""
    return [*_PARTS]


def stored_functions(schema: str) -> TextClause:
    """Asks which of them are there, for `functions_steps`."""
    return _STORED.bindparams(schema=schema, names=function_names())


def functions_steps(
    connection: Connection, schema: str, extension: str, mapping: SchemaMapping, stored: Sequence[Any]
) -> Iterator[Step]:
    """What makes them, and says what they are for, in place of those that an earlier version made with other arguments;
    nothing where all of them are there as this version makes them for this mapping. `stored` are those that are there.

    Raises `ConfigurationError` where somebody has built upon one that has to go.
    """
    driver = driver_of(connection)
    made = _functions(schema, extension, tuple(_words(mapping, modality) for modality in MODALITIES))
    statements, mark, expected = made.statements, made.mark, made.declared
    current = {str(name): str(comment) for _, name, comment, declared, *_ in stored if declared == expected[name]}
    stale = {str(signature): str(name) for signature, name, _, declared, *_ in stored if declared != expected[name]}
    is_marked = current.keys() == expected.keys() and current[_MARKED].endswith(mark)
    if is_marked and all(owner is not None for _, owner in _replaced(made, stored)):
        return
    # Only where pgvector's library is loaded may an ordinary user make a function that sets its parameters.
    yield select(literal_column(statement("CAST('[1]' AS {})", sql.Identifier(extension, "vector"))))
    check_functions_alone(driver, schema, [*stale])
    yield from (statement("DROP FUNCTION {}", fixed(signature)) for signature in stale)
    yield from statements.values()
    for name, part in _PARTS.items():
        comment = described(part) + (mark if name == _MARKED else "")
        target = sql.SQL("{}({})").format(sql.Identifier(schema, name), fixed(arguments(part)))
        yield statement("COMMENT ON FUNCTION {} IS {}", target, sql.Literal(comment))
        for signature in (signature for signature, old in stale.items() if old == name):
            yield from grants_on_new(driver, schema, "FUNCTION", target, function_grants(driver, [signature]))


def replaced_functions(schema: str, extension: str, mapping: SchemaMapping, stored: Sequence[Any]) -> Iterator[str]:
    """What is said of those that this version has made for this mapping, and that somebody has replaced since."""
    made = _functions(schema, extension, tuple(_words(mapping, modality) for modality in MODALITIES))
    if any(name == _MARKED and str(comment).endswith(made.mark) for _, name, comment, *_ in stored):
        for name, owner in _replaced(made, stored):
            what_follows = (
                f"Since it belongs to {owner}, it stays as it is: have it dropped, and sync again"
                if owner is not None
                else "It is made anew"
            )
            yield f"{name}: somebody has replaced this function by another one of its name. {what_follows}"


def _replaced(functions: _Functions, stored: Sequence[Any]) -> list[tuple[str, str | None]]:
    """The functions that are not as they were made, each with its owner if that is none of us."""
    return [
        (str(name), owner)
        for _, name, _, declared, digest, owner in stored
        if declared == functions.declared[name] and digest != functions.digests[name]
    ]


@dataclass(frozen=True, slots=True)
class _Functions:
    """By name, the statement that makes each function, its arguments and results, and a digest of its body; `mark` is a
    digest of it all."""

    statements: Mapping[str, str]
    declared: Mapping[str, list[str]]
    digests: Mapping[str, str]
    mark: str


_Words: TypeAlias = tuple[str | None, str | None]
"""The words of a modality's features, and the query for what somebody typed, as expressions."""


def _words(mapping: SchemaMapping, modality: Modality) -> _Words:
    columns = mapping.columns(modality)
    document, query = full_text(columns), full_text_query(columns, "$1")
    return document.as_string() if document else None, query.as_string() if query else None


@lru_cache(maxsize=16)
def _functions(schema: str, extension: str, words: tuple[_Words, ...]) -> _Functions:
    places: dict[str, str | sql.Composable] = {
        "schema": schema,
        "schema_name": sql.Literal(schema),
        "pgvector": extension,
        "sparse": fixed(str(SPARSE_DIMENSION)),
    }
    by_function = {
        f"hybrid_{modality.value}": {
            "function": sql.Identifier(schema, f"hybrid_{modality.value}"),
            "modality": sql.Literal(modality.value),
            "document": sql.Literal(document),
            "words": sql.Literal(query),
        }
        for modality, (document, query) in zip(MODALITIES, words, strict=True)
    }
    statements = {name: filled(part, {**places, **by_function.get(name, {})}) for name, part in _PARTS.items()}
    digest = hashlib.blake2b(json.dumps(statements).encode(), digest_size=8).hexdigest()
    declared = {name: _declared(part) for name, part in _PARTS.items()}
    digests = {name: hashlib.sha256(_body(words).encode()).hexdigest() for name, words in statements.items()}
    return _Functions(statements, declared, digests, f" Made of {digest}.")


def _body(definition: str) -> str:
    return definition.split("$body$")[1]


def arguments(part: str) -> str:
    """The types of a function's arguments, as Postgres calls them."""
    given = [words for words in _listed(part, 1) if not words.startswith("OUT ")]
    return ", ".join(words.partition(" ")[2] for words in given)


def _declared(part: str) -> list[str]:
    """Each argument and each column of what it returns, with its type: Postgres replaces no function by one with
    others."""
    return [words.removeprefix("OUT ").replace('"', "") for number in (1, 2) for words in _listed(part, number)]


def _listed(part: str, number: int) -> list[str]:
    """What stands in the brackets behind the function's name, or in those behind RETURNS TABLE, without defaults."""
    brackets = re.search(r"\((.*?)\)\s*(?:RETURNS TABLE \((.*?)\)|RETURNS|LANGUAGE)", _parts()[part][1], re.DOTALL)
    listed = brackets[number] if brackets else None
    return [re.sub(r"\s+DEFAULT\s.*", "", words.strip()) for words in (listed or "").split(",") if words.strip()]


def filled(part: str, places: Mapping[str, str | sql.Composable]) -> str:
    """The statement of a part of `functions.sql`, with these in its places: texts are names, and quoted."""

    def value(place: re.Match[str]) -> str:
        filling = places[place[1]]
        return (sql.Identifier(filling) if isinstance(filling, str) else filling).as_string()

    return re.sub(r"@([a-z_]+)@", value, template(part))


def template(part: str) -> str:
    """The statement of a part of `functions.sql`, as it stands there."""
    return _parts()[part][1]


def described(part: str) -> str:
    """What a part of `functions.sql` is, for those who ask the database."""
    return _parts()[part][0]


@cache
def _parts() -> Mapping[str, tuple[str, str]]:
    """By name: what stands above the statement, and the statement."""
    whole = (files("vectorferry.destinations.pgvector") / "functions.sql").read_text(encoding="utf-8")
    for name, number in _QUICK.items():
        whole = whole.replace(f"@{name}@", str(number))
    _, *parts = re.split(r"^-- part: (\w+)\n((?:--.*\n)*)", whole, flags=re.MULTILINE)
    return {
        name: (" ".join(re.sub("^-- ?", "", above, flags=re.MULTILINE).split()), words.strip().removesuffix(";"))
        for name, above, words in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    }
