"""A role that may only ask cannot do more than that, whatever it asks; nor can a stranger act through one who asks.

In a database of its own, so that the schema is called as in docs/sql.md, whose lines are run as they stand there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vectorferry.connector.plugin import SchemaMapping
from vectorferry.destinations import PgvectorDestination
from vectorferry.destinations.pgvector._functions import function_names

from ...builders import asset, batch, dense, feature
from ...examples import examples, family
from ...urls import as_user, in_database

Sql = psycopg.Connection[Any]

DOCS = Path(__file__).parents[3] / "docs" / "sql.md"
ROWS = 5
REFUSALS = (psycopg.errors.DataError, psycopg.errors.RaiseException, psycopg.errors.UndefinedColumn)
NEAR = "[1,1,1,1,1,1,1,1]"
ODD_NAMES = ('v"; DROP SCHEMA media CASCADE; --', "v'); SELECT pg_sleep(9); --", "$body$ BEGIN", "%I %s", "pg_class")
RESERVED = ("select", "user", "query", "k", "filter", "matches", "relation", "one", "nearest", "match", "candidates")
COMPARISONS = ("gt", "ne", "in", "nin", "like", "contains", "is_null", "and", "or", "not")


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[str]:
    """A synced schema `media`, with the roles `analyst`, made by the lines of docs/sql.md, and `stranger`."""
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute("CREATE DATABASE untrusted")
    url = in_database(postgres_url, "untrusted")
    _load(url)
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(_documented_lines())
        owner.execute("CREATE ROLE stranger LOGIN")
    yield url
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute("DROP DATABASE untrusted WITH (FORCE)")
        server.execute("DROP ROLE analyst")
        server.execute("DROP ROLE stranger")


def _load(url: str) -> None:
    columns = {name: {"path": f"metadata.{name}"} for name in RESERVED}
    mapping = SchemaMapping.model_validate({"video": {"columns": columns}})
    destination = PgvectorDestination("media", url)
    destination.prepare(mapping)
    for number in range(ROWS):
        vectors = {"multimodal-v1": dense(number), **{name: dense(number) for name in ODD_NAMES}}
        one = feature(f"f{number}", vectors, mapping=mapping, text=f"number {number}", start_time=float(number))
        destination.apply(batch(asset(f"a{number}", one), collection="ads"))
    destination.close()


def _documented_lines() -> str:
    section = DOCS.read_text(encoding="utf-8").partition("## A role that may only ask")[2]
    found = re.search(r"```sql\n(.*?)```", section, re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def owner(database: str) -> Iterator[Sql]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def analyst(database: str) -> Iterator[Sql]:
    with psycopg.connect(as_user(database, "analyst"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def stranger(database: str) -> Iterator[Sql]:
    with psycopg.connect(as_user(database, "stranger"), autocommit=True) as connection:
        yield connection


def ask(connection: Sql, filters: str = "{}", k: int | None = 10) -> list[str]:
    question = "SELECT feature_id FROM media.search_video_multimodal_v1(%s, %s, %s)"
    return [row[0] for row in connection.execute(question, [NEAR, k, filters])]


def test_the_documented_lines_are_enough_to_ask(analyst: Sql) -> None:
    assert len(ask(analyst)) == ROWS
    by_hand = f"SELECT feature_id FROM media.video_multimodal_v1 ORDER BY embedding <=> '{NEAR}' LIMIT 10"
    assert len(analyst.execute(by_hand).fetchall()) == ROWS


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM media.video",
        "SELECT * FROM media.assets",
        "SELECT * FROM media.video__multimodal_v1",
        "SELECT * FROM media._sync_ledger",
        "SELECT * FROM media._sync_vectors",
        "SELECT * FROM media._sync_quarantine",
        "DELETE FROM media.video_multimodal_v1",
        "UPDATE media.video_multimodal_v1 SET text = ''",
        "INSERT INTO media.video (feature_id) VALUES ('mine')",
        "CREATE TABLE media.mine (i integer)",
        "CREATE TABLE public.mine (i integer)",
        "CREATE FUNCTION media.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE VIEW media.video_multimodal_v1 AS SELECT 1",
        "ALTER VIEW media.video_multimodal_v1 OWNER TO analyst",
        "ALTER FUNCTION media.search_video_multimodal_v1 SECURITY DEFINER",
        "DROP FUNCTION media.search_video_multimodal_v1",
        "DROP VIEW media.video_multimodal_v1",
        "TRUNCATE media.video",
        "COMMENT ON SCHEMA media IS ''",
        "SET SESSION AUTHORIZATION postgres",
        "COPY media.video_multimodal_v1 TO PROGRAM 'true'",
    ],
)
def test_it_can_do_nothing_else(analyst: Sql, statement: str) -> None:
    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)):
        analyst.execute(statement)


def test_no_function_lends_its_owner_s_rights(owner: Sql) -> None:
    functions = owner.execute(
        "SELECT proname, prosecdef, proconfig FROM pg_proc WHERE pronamespace = 'media'::regnamespace"
    ).fetchall()
    assert len(functions) == len(function_names()) + 1 + len(ODD_NAMES)
    for name, security_definer, options in functions:
        paths = [option for option in options if option.startswith("search_path=pg_catalog, ")]
        assert (security_definer, len(paths)) == (False, 1), name
        assert paths[0].endswith("pg_temp"), "implicitly, it would come first"


STATEMENTS = ("'; DELETE FROM media.video; --", "\\'; DELETE FROM media.video; --", "\\", "$body$", "%L", "a\nb", "'||")
ATTACKS = [
    *({"text": text} for text in STATEMENTS),
    *({"text": [text, None]} for text in STATEMENTS),
    *({"text": {"ne": text}} for text in STATEMENTS),
    *({"metadata": {text: text}} for text in STATEMENTS),
    *({"metadata": {text: {"lt": text}}} for text in STATEMENTS),
    *({f"metadata.{text}": {"gte": text}} for text in STATEMENTS),
    *({"text": {"like": text, "contains": text}} for text in STATEMENTS),
    *({"text": {"in": [text]}, "metadata.x": {"in": [text]}} for text in STATEMENTS),
    *({"or": [{"text": text}, {text: 1}]} for text in STATEMENTS),
    *({text: 1} for text in STATEMENTS),
    *({"text": {text: 1}} for text in STATEMENTS),
    {'text" IS NULL OR true; --': 1},
    {"start_time": "1; DROP VIEW media.video_multimodal_v1"},
    {"start_time": ["1}'::text[]); DELETE FROM media.video; --"]},
    {"text": ['{"', '"}', "{}", "NULL", ","]},
    {"metadata.x": {"lt": "2024-01-01'::timestamptz END OR true; --"}},
    {"embedding": "[1]'::vector OR true; --"},
    {"ctid": "(0,1)"},
    {"tableoid": 1},
]


@pytest.mark.parametrize("quoting", family(["on", "off"]))
@pytest.mark.parametrize("filters", family(ATTACKS, range(0, len(ATTACKS), 4)), ids=str)
def test_a_filter_is_only_ever_a_value(owner: Sql, filters: dict[str, Any], quoting: str) -> None:
    """Asked by the owner, who could do everything, and with the quoting of strings that Postgres once had."""
    owner.execute(f"SET escape_string_warning = off; SET standard_conforming_strings = {quoting}")
    try:
        found = ask(owner, json.dumps(filters))
    except REFUSALS:
        found = []
    assert found == [] or filters["text"].keys() == {"ne"}
    assert owner.execute("SELECT count(*) FROM media.video").fetchone() == (ROWS,)
    assert len(ask(owner)) == ROWS


EVERY_WAY = [
    "SELECT feature_id FROM media.search_many('video_multimodal_v1', ARRAY[%(near)s], 10, %(filter)s)",
    "SELECT feature_id FROM media.near_duplicates('video_multimodal_v1', 2, 10, %(filter)s)",
    "SELECT asset_id FROM media.search_assets('video_multimodal_v1', %(near)s, 10, %(filter)s)",
    "SELECT plan FROM media.explain_search('video_multimodal_v1', %(near)s, 10, %(filter)s)",
    "SELECT recall FROM media.evaluate_recall('video_multimodal_v1', 1, 10, %(filter)s)",
    "SELECT feature_id FROM media.search_video_multimodal_v1(%(near)s, 10, %(filter)s, per_asset => 2)",
    "SELECT feature_id FROM media.search_video_multimodal_v1(%(near)s, 10, %(filter)s, diversity => 0.5)",
    "SELECT 1 FROM media.hybrid_video('', jsonb_build_object('multimodal_v1', %(near)s::text), 10, %(filter)s)",
    "SELECT feature_id FROM media.search_video_multimodal_v1(like_feature => %(filter)s)",
]


@pytest.mark.parametrize("question", family(EVERY_WAY, (0, 5, 7)))
def test_no_function_takes_a_value_for_sql(owner: Sql, question: str) -> None:
    for filters in ATTACKS:
        with suppress(*REFUSALS, psycopg.errors.CardinalityViolation, psycopg.errors.NoDataFound):
            owner.execute(question, {"near": NEAR, "filter": json.dumps(filters)})
    assert owner.execute("SELECT count(*) FROM media.video").fetchone() == (ROWS,)
    assert len(ask(owner)) == ROWS


@pytest.mark.parametrize(
    "question",
    [
        "SELECT * FROM media.search_many(%s, ARRAY['[1]'])",
        "SELECT * FROM media.near_duplicates(%s)",
        "SELECT * FROM media.search_assets(%s, '[1]'::text)",
        "SELECT * FROM media.explain_search(%s, '[1]'::text)",
        "SELECT * FROM media.evaluate_recall(%s)",
        "SELECT * FROM media.hybrid_video(%s)",
        "SELECT * FROM media.hybrid_video('', jsonb_build_object(%s::text, '[1]'))",
        "SELECT * FROM media.hybrid_video('', '{\"multimodal_v1\": [1]}', weights => jsonb_build_object(%s::text, 1))",
        "SELECT * FROM media.search_video_multimodal_v1(like_feature => %s)",
        "SELECT * FROM media.search_video_multimodal_v1('[1,1,1,1,1,1,1,1]', mode => %s)",
        "SELECT * FROM media.search_video_multimodal_v1(%s)",
    ],
)
def test_no_name_or_word_is_taken_for_sql(owner: Sql, question: str) -> None:
    for text in (*STATEMENTS, "{", "video_multimodal_v1(NULL); --", "many"):
        with pytest.raises((*REFUSALS, psycopg.errors.UndefinedObject, psycopg.errors.NoDataFound)):
            owner.execute(question, [text])
    assert owner.execute("SELECT count(*) FROM media.video").fetchone() == (ROWS,)


def test_whoever_may_only_ask_can_ask_in_every_way(analyst: Sql) -> None:
    for question in EVERY_WAY[:-1]:
        assert analyst.execute(question, {"near": NEAR, "filter": "{}"}).fetchall(), question
    assert analyst.execute(EVERY_WAY[-1], {"filter": "f1"}).fetchall()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.sampled_from(COMPARISONS), inner),
    max_leaves=5,
)
filters_of_any_kind = st.dictionaries(
    st.text()
    | st.sampled_from(["text", "metadata", "metadata.x", "start_time", "created_at", "embedding", *RESERVED])
    | st.sampled_from(["and", "or", "not", "$or"]),
    anything,
)


def test_any_filter_is_answered_or_refused_for_what_it_says(owner: Sql) -> None:
    """Never a syntax error, which would mean that a part of it was read as SQL."""

    @settings(max_examples=examples(20, 500), deadline=None)
    @given(filters_of_any_kind)
    def ask_anything(filters: dict[str, Any]) -> None:
        with suppress(*REFUSALS):
            ask(owner, json.dumps(filters))

    ask_anything()


@pytest.mark.parametrize("bound", [None, [], [NEAR], NEAR, {"ne": NEAR}, {"lt": NEAR}], ids=str)
def test_a_vector_is_asked_for_and_not_filtered_by(owner: Sql, bound: Any) -> None:
    """Whatever is asked of it, the answer says which columns there are to filter by, and is no internal statement."""
    with pytest.raises(psycopg.errors.UndefinedColumn, match='no column "embedding" to filter by') as refusal:
        ask(owner, json.dumps({"embedding": bound}))
    assert "embedding" not in (refusal.value.diag.message_hint or "embedding")


def test_a_text_is_found_whatever_stands_in_it(owner: Sql) -> None:
    owner.execute("BEGIN")
    for text in STATEMENTS:
        owner.execute("UPDATE media.video SET text = %s WHERE feature_id = 'f0'", [text])
        assert ask(owner, json.dumps({"text": text})) == ["f0"]
        assert ask(owner, json.dumps({"text": [text]})) == ["f0"]
    owner.execute("ROLLBACK")


@pytest.mark.parametrize("name", RESERVED)
def test_a_column_may_be_called_like_a_word_of_sql_or_of_the_function(owner: Sql, name: str) -> None:
    owner.execute("BEGIN")
    owner.execute(f"UPDATE media.video SET \"{name}\" = 'here' WHERE feature_id = 'f3'")
    assert ask(owner, json.dumps({name: "here"})) == ["f3"]
    owner.execute("ROLLBACK")


def test_columns_that_are_called_like_that_are_shown(owner: Sql) -> None:
    owner.execute("BEGIN")
    owner.execute("UPDATE media.video SET " + ", ".join(f"\"{name}\" = '{name}'" for name in RESERVED))
    for arguments in (
        "effort => 40",
        "3",
        "3, effort => 40",
        "3, mode => 'exact'",
        "3, per_asset => 1",
        "diversity => 1",
    ):
        listed = ", ".join(f'"{name}"' for name in RESERVED)
        question = f"SELECT DISTINCT {listed} FROM media.search_video_multimodal_v1('{NEAR}', {arguments})"
        assert owner.execute(question).fetchall() == [RESERVED], arguments
    owner.execute("ROLLBACK")


def test_vectors_may_be_called_like_sql(owner: Sql) -> None:
    functions = owner.execute("SELECT modality, vector_name, identifier FROM media._sync_vectors").fetchall()
    assert {name for _, name, _ in functions} == {"multimodal-v1", *ODD_NAMES}
    for modality, _, identifier in functions:
        assert re.fullmatch("[a-z0-9_]+", identifier)
        rows = owner.execute(f"SELECT feature_id FROM media.search_{modality}_{identifier}('{NEAR}')").fetchall()
        assert len(rows) == ROWS


TEMPORARY = """
CREATE TEMPORARY TABLE video_multimodal_v1 (feature_id text, embedding text);
CREATE TEMPORARY TABLE pg_attribute (attname name, atttypid oid, atttypmod integer, attrelid oid, attnum int2,
                                     attisdropped boolean);
CREATE TYPE pg_temp.vector AS (i integer);
CREATE TYPE pg_temp.jsonb AS (i integer);
CREATE FUNCTION pg_temp.unnest(anyarray) RETURNS integer LANGUAGE sql AS 'SELECT 1/0';
CREATE FUNCTION pg_temp.format(text, VARIADIC text[]) RETURNS text LANGUAGE sql AS $$ SELECT 'true OR true' $$;
CREATE FUNCTION pg_temp._sync_where(regclass, jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'true' $$;
CREATE FUNCTION pg_temp._sync_scans(text) RETURNS bigint LANGUAGE sql AS $$ SELECT 1/0 $$;
SET search_path = pg_temp, public, media
"""


def test_temporary_objects_of_the_same_names_change_nothing(analyst: Sql) -> None:
    analyst.execute(TEMPORARY)
    assert ask(analyst, '{"text": "number 3"}') == ["f3"]


BAIT = {
    "an addition": """
        CREATE FUNCTION public.plus(double precision, integer) RETURNS double precision LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'seized by %', current_user; END $$;
        CREATE OPERATOR public.+ (FUNCTION = public.plus, LEFTARG = double precision, RIGHTARG = integer)""",
    "unnest": """
        CREATE FUNCTION public.unnest(media.video_multimodal_v1_match[]) RETURNS SETOF media.video_multimodal_v1_match
        LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'seized by %', current_user; END $$""",
    "array_agg": """
        CREATE FUNCTION public.array_agg(media.video_multimodal_v1_match) RETURNS media.video_multimodal_v1_match[]
        LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'seized by %', current_user; END $$""",
    "cardinality": """
        CREATE FUNCTION public.cardinality(media.video_multimodal_v1_match[]) RETURNS integer
        LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'seized by %', current_user; END $$""",
    "a comparison of integers": """
        CREATE FUNCTION public.more(integer, integer) RETURNS boolean LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'seized by %', current_user; END $$;
        CREATE OPERATOR public.>= (FUNCTION = public.more, LEFTARG = integer, RIGHTARG = integer)""",
    "a comparison of texts": """
        CREATE FUNCTION public.same(text, text) RETURNS boolean LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'seized by %', current_user; END $$;
        CREATE OPERATOR public.= (FUNCTION = public.same, LEFTARG = text, RIGHTARG = text)""",
}


@pytest.mark.parametrize("bait", BAIT.values(), ids=BAIT)
def test_a_stranger_s_objects_beside_pgvector_are_not_taken_for_postgres_own(
    owner: Sql, stranger: Sql, bait: str
) -> None:
    """Somebody who may make objects in `public`, where pgvector is, would act with the rights of whoever asks."""
    owner.execute("GRANT CREATE ON SCHEMA public TO stranger; GRANT USAGE ON SCHEMA media TO stranger")
    try:
        stranger.execute(bait)
        assert ask(owner, '{"text": "number 3", "start_time": {"gte": 1}}') == ["f3"]
        assert ask(owner, '{"text": ["number 3"]}', k=ROWS + 1) == ["f3"]
    finally:
        owner.execute("DROP OWNED BY stranger CASCADE")


@pytest.mark.parametrize("k", [2**31 - 1, None])
def test_any_number_of_rows_may_be_asked_for(analyst: Sql, k: int | None) -> None:
    assert len(ask(analyst, k=k)) == ROWS


def test_the_documented_bounds_hold(database: str, analyst: Sql) -> None:
    assert analyst.execute("SHOW statement_timeout").fetchone() == ("30s",)
    assert analyst.execute("SHOW temp_file_limit").fetchone() == ("1GB",)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        analyst.execute("SET temp_file_limit = -1")
    with ExitStack() as crowd:
        for _ in range(3):
            crowd.enter_context(psycopg.connect(as_user(database, "analyst")))
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            psycopg.connect(as_user(database, "analyst"))


@pytest.mark.long
def test_a_long_question_is_ended(analyst: Sql) -> None:
    analyst.execute("SET statement_timeout = '50ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        analyst.execute("SELECT pg_sleep(60) FROM media.video_multimodal_v1")
