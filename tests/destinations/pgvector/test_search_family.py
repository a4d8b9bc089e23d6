"""One family of functions with one vocabulary: every argument does what it says, and what means nothing is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from vectorferry.connector._model._rows import hash_row
from vectorferry.connector.plugin import ConfigurationError, Modality, SchemaMapping
from vectorferry.destinations import PgvectorDestination

from ...builders import asset, batch, dense, feature, sparse
from .conftest import Prepared, defined, message

Sql = psycopg.Connection[Any]

ASSETS, SEGMENTS = 12, 10
ORIGIN = [0.0, *[1.0] * 7]
TIMES = ["2024-02-29", "2024-03-01T10:00:00Z", "2025-01-01 00:00:00+02", "2023-02-30", "soon", "", "2024-13-01"]
FUNCTIONS = ("search_many", "near_duplicates", "search_assets", "explain_search", "evaluate_recall")


@pytest.fixture(scope="module")
def sql(postgres_url: str, common_schema: str) -> Iterator[Sql]:
    """Twelve videos of ten segments each, the farther from the origin the higher their number."""
    with closing(PgvectorDestination(common_schema, postgres_url)) as destination:
        mapping = SchemaMapping.model_validate({"video": {"vectors": {"model-v1": {"metric": "l2"}}}})
        destination.prepare(mapping)
        videos = [_video(number) for number in range(ASSETS)]
        destination.apply(batch(*videos[:6], collection="ads"))
        destination.apply(batch(*videos[6:], collection="films"))
        destination.apply(batch(asset("t", feature("t1", {"splade": sparse({1: 1.0})}, modality=Modality.TEXT))))
        destination.build_indexes()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"SET search_path = {common_schema}, public")
        yield connection


def _video(number: int) -> Any:
    features = [
        feature(
            f"s{segment}",
            {"model-v1": dense(number + segment / 100)},
            metadata={
                "year": 2000 + number,
                "author": {"name": "ada" if number % 2 else "bob"},
                "tags": ["x", f"t{number}"],
                "is_new": number > 5,
                "in": number,
                **({"aired": TIMES[number]} if number < len(TIMES) else {}),
                **({"note": None} if number == 3 else {}),
            },
            start_time=float(segment),
            end_time=float(segment + 1),
            text=f"video {number}, part {segment}",
        )
        for segment in range(SEGMENTS)
    ]
    made = replace(asset(f"v{number:02}", *features), url=f"https://media/{number}", metadata={"campaign": number % 3})
    named = {name: getattr(made, name) for name in ("modality", "url", "status", "created_at", "updated_at")}
    return replace(made, row_hash=hash_row(named, made.metadata, {})[0])


def videos(sql: Sql, filters: Any = None, **arguments: Any) -> list[int]:
    """The numbers of the videos that a search for as many as there are gives."""
    given = {"k": ASSETS, "per_asset": 1, "filter": json.dumps(filters or {}), **arguments}
    return sorted(int(row["asset_id"][1:]) for row in found(sql, ORIGIN, **given))


def found(sql: Sql, query: Any = ORIGIN, **arguments: Any) -> list[dict[str, Any]]:
    values = {name: value for name, value in {"query": query, **arguments}.items() if value is not None}
    listed = ", ".join(f'"{name}" => %({name})s' for name in values)
    with sql.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        values = {name: str(value) if name == "query" else value for name, value in values.items()}
        return cursor.execute(f"SELECT * FROM search_video_model_v1({listed})", values).fetchall()


EVERY = range(ASSETS)


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ({"asset_id": {"eq": "v03"}}, [3]),
        ({"asset_id": {"in": ["v03", "v05", "nobody"]}}, [3, 5]),
        ({"asset_id": {"nin": ["v03", "v05"]}}, [n for n in EVERY if n not in (3, 5)]),
        ({"asset_id": {"nin": []}}, EVERY),
        ({"asset_id": {"in": []}}, []),
        ({"asset_id": {"like": "v0%"}}, range(10)),
        ({"text": {"ilike": "VIDEO 1,%"}}, [1]),
        ({"text": {"contains": "o 11, part"}}, [11]),
        ({"description": {"is_null": True}}, EVERY),
        ({"description": {"is_null": False}}, []),
        ({"metadata": {"year": {"lt": 2005}}}, range(5)),
        ({"metadata.year": {"gte": 2005, "lt": 2007}}, [5, 6]),
        ({"metadata.year": 2003}, [3]),
        ({"metadata.year": {"ne": 2003}}, [n for n in EVERY if n != 3]),
        ({"metadata.year": {"gt": "2003"}}, []),
        ({"metadata.author.name": {"eq": "ada"}}, EVERY[1::2]),
        ({"metadata": {"author": {"name": {"like": "b%"}}}}, EVERY[::2]),
        ({"metadata": {"author": {"name": "ada"}, "year": {"lt": 2004}}}, [1, 3]),
        ({"metadata.author.name": {"gt": "ada"}}, EVERY[::2]),
        ({"metadata.year": ["2001", 2002]}, [2]),
        ({"metadata.year": {"nin": [2001, 2002]}}, [n for n in EVERY if n not in (1, 2)]),
        ({"metadata": {"tags": ["t4"]}}, [4]),
        ({"metadata.tags": {"contains": "t4"}}, [4]),
        ({"metadata.tags.1": "t4"}, []),
        ({"metadata.tags.1": {"eq": "t4"}}, [4]),
        ({"metadata.is_new": True}, range(6, ASSETS)),
        ({"metadata.is_new": {"ne": True}}, range(6)),
        ({"metadata.note": {"is_null": True}}, EVERY),
        ({"metadata": {"note": None}}, EVERY),
        ({"metadata.aired": {"is_null": False}}, range(len(TIMES))),
        ({"metadata.aired": {"gte": "2024-03-01"}}, [1, 2]),
        ({"metadata.aired": {"lt": "2025-01-01T00:00:00Z"}}, [0, 1, 2]),
        ({"metadata.aired": {"gt": "s"}}, [4]),
        ({"metadata": {"contains": {"in": 4}}}, [4]),
        ({"metadata": {"eq": {"in": 4}}}, []),
        ({"or": [{"asset_id": "v01"}, {"metadata": {"year": 2002}}]}, [1, 2]),
        ({"not": {"metadata.aired": {"gte": "2024-03-01"}}}, [n for n in EVERY if n not in (1, 2)]),
        ({"and": [{"collection": "ads"}, {"not": {"or": [{"asset_id": "v01"}, {"asset_id": "v02"}]}}]}, [0, 3, 4, 5]),
        ({"$or": [{"asset_id": "v01"}]}, [1]),
        ({"asset_url": {"like": "%/7"}}, [7]),
        ({"asset_metadata.campaign": {"gte": 2}}, EVERY[2::3]),
    ],
    ids=str,
)
def test_a_filter_means_what_it_says(sql: Sql, filters: Any, numbers: Any) -> None:
    assert videos(sql, filters) == [*numbers]


@pytest.mark.parametrize(
    ("filters", "why"),
    [
        ({"nope": 1}, 'no column "nope"'),
        ({"nope.x": 1}, 'no column "nope.x"'),
        ({"text.x": 1}, '"text" is text, and has nothing called "text.x" inside'),
        ({"metadata.": 1}, "nothing called"),
        ({"metadata": {}}, "nothing to compare"),
        ({"metadata": {"n": {"lt": 5, "about": 1}}}, 'unknown comparison "about" of "metadata.n"'),
        ({"metadata": {"gt": 5}}, "as a whole neither more nor less"),
        ({"metadata.n": {"lt": None}}, "nothing to compare"),
        ({"metadata.n": {"lt": [1]}}, "nothing to compare"),
        ({"metadata.n": {"lt": True}}, "neither more nor less than true or false"),
        ({"start_time": {"in": 1}}, "needs a list"),
        ({"start_time": {"in": [[1]]}}, "needs a list"),
        ({"start_time": {"like": "1%"}}, "not compared with a pattern"),
        ({"text": {"like": 1}}, "not compared with a pattern"),
        ({"start_time": {"contains": 1}}, "contains needs"),
        ({"start_time": {"is_null": "yes"}}, "needs true or false"),
        ({"or": []}, "or needs a list"),
        ({"and": {"collection": "ads"}}, "and needs a list"),
        ({"and": [1]}, "and needs a list"),
        ({"not": []}, "not needs a filter"),
        ({"start_time": {"lt": "soon"}}, "invalid input syntax"),
        ("ads", "must be a JSON object"),
    ],
    ids=str,
)
def test_a_filter_that_cannot_be_understood_is_no_empty_answer(sql: Sql, filters: Any, why: str) -> None:
    with pytest.raises(psycopg.Error, match=why):
        videos(sql, filters)


@pytest.mark.parametrize("kind", ["text", "vector", "halfvec", "real[]", "double precision[]", "numeric[]", "jsonb"])
def test_a_query_may_be_a_vector_an_array_or_a_text(sql: Sql, kind: str) -> None:
    literal = str(ORIGIN).replace("[", "{").replace("]", "}") if kind.endswith("[]") else str(ORIGIN)
    rows = sql.execute(f"SELECT asset_id FROM search_video_model_v1('{literal}'::{kind}, 2)").fetchall()
    assert rows == [("v00",)] * 2


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"k": 0}, r"k is 0.*at least 1 row"),
        ({"k": -1}, r"k is -1"),
        (
            {"query": [1.0] * 3},
            r"the query has 3 dimensions, and .* have 8.*another model",
        ),
        ({"query": None}, r"nothing to search for: the query is null.*like_feature"),
        ({"mode": "fast"}, r'mode is "fast".*auto, index or exact'),
        ({"effort": 0}, r"effort is 0.*1 to 1000"),
        ({"effort": 1001}, r"effort is 1001"),
        ({"per_asset": 0}, r"per_asset is 0"),
        ({"diversity": 1.5}, r"diversity is 1.5"),
        ({"diversity": 0.5, "per_asset": 2}, r"both per_asset and diversity"),
        ({"offset": -1}, r"offset is -1"),
        ({"like_feature": "s1"}, r"both a query and like_feature"),
        ({"query": None, "like_feature": "nobody"}, r"no feature with a vector in .* is meant by like_feature nobody"),
        ({"query": None, "like_feature": "s1"}, r"several features are meant by like_feature s1.*asset_id"),
        ({"query": None, "like_feature": '{"nope": 1}'}, r'no column "nope"'),
    ],
    ids=str,
)
def test_what_cannot_be_answered_says_why_and_what_to_do(sql: Sql, arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(psycopg.Error, match=f"(?s){why}"):
        found(sql, **arguments)


def test_a_feature_stands_for_its_vector_and_is_left_out(sql: Sql) -> None:
    rows = found(sql, None, like_feature='{"asset_id": "v04", "feature_id": "s5"}', k=2)
    assert {(row["asset_id"], row["feature_id"]) for row in rows} == {("v04", "s4"), ("v04", "s6")}


@pytest.mark.parametrize("mode", ["auto", "index", "exact"])
@pytest.mark.parametrize("per_asset", [1, 3, 50])
def test_per_asset_gives_every_asset_with_its_best_features(sql: Sql, mode: str, per_asset: int) -> None:
    rows = found(sql, k=ASSETS, per_asset=per_asset, mode=mode)
    expected = [(f"v{n:02}", f"s{s}") for n in EVERY for s in range(min(per_asset, SEGMENTS))]
    assert [(row["asset_id"], row["feature_id"]) for row in rows] == expected


def test_per_asset_counts_assets(sql: Sql) -> None:
    rows = found(sql, k=3, per_asset=2, offset=1)
    assert [row["asset_id"] for row in rows] == ["v01", "v01", "v02", "v02", "v03", "v03"]


@pytest.mark.parametrize("mode", ["auto", "exact"])
def test_pages_are_the_whole_answer(sql: Sql, mode: str) -> None:
    whole = found(sql, k=ASSETS * SEGMENTS, mode=mode)
    pages = [row for start in range(0, 130, 13) for row in found(sql, k=13, offset=start, mode=mode)]
    assert pages == whole
    assert len(whole) == ASSETS * SEGMENTS


def test_max_distance_leaves_out_what_is_farther(sql: Sql) -> None:
    assert {row["asset_id"] for row in found(sql, k=500, max_distance=2.5)} == {"v00", "v01", "v02"}
    assert len(found(sql, k=500, max_distance=1.995)) == 20
    assert found(sql, max_distance=-1) == []
    assert {row["asset_id"] for row in found(sql, k=9, max_distance=2.5, per_asset=1)} == {"v00", "v01", "v02"}


def test_diversity_weighs_nearness_against_likeness(sql: Sql) -> None:
    """Segments of one video are nearly alike: with diversity each video is taken once before one is taken twice."""
    assert [row["asset_id"] for row in found(sql, k=3)] == ["v00"] * 3
    assert found(sql, k=3, diversity=0) == found(sql, k=3)
    mixed = [row["asset_id"] for row in found(sql, k=4, diversity=0.6)]
    assert mixed[0] == "v00"
    assert len(set(mixed)) == 4
    assert [row["asset_id"] for row in found(sql, k=2, diversity=0.6, offset=2)] == mixed[2:4]


def test_every_row_has_its_asset_s_address(sql: Sql) -> None:
    [row] = found(sql, k=1)
    assert (row["asset_url"], row["asset_metadata"]) == ("https://media/0", {"campaign": 0})
    viewed = sql.execute("SELECT DISTINCT asset_url FROM video_model_v1 WHERE asset_id = 'v07'").fetchall()
    assert viewed == [("https://media/7",)]


def test_many_queries_are_asked_at_once(sql: Sql) -> None:
    rows = sql.execute(
        "SELECT query, rank, asset_id, feature_id FROM search_many('video_model_v1', ARRAY(SELECT embedding FROM "
        "video_model_v1 WHERE feature_id = 's0' AND collection = 'ads' ORDER BY asset_id), 2, '{\"start_time\": 0}')"
    ).fetchall()
    assert [row[:2] for row in rows] == [(query, rank) for query in range(1, 7) for rank in (1, 2)]
    assert [row[2:] for row in rows if row[1] == 1] == [(f"v{n:02}", "s0") for n in range(6)]


def test_near_duplicates_come_once_and_nearest_first(sql: Sql) -> None:
    question = "SELECT * FROM near_duplicates('video_model_v1', %s, filter => '{\"collection\": \"ads\"}'"
    rows = sql.execute(f"{question})", [0.0101]).fetchall()
    assert len(rows) == 6 * (SEGMENTS - 1)
    assert all(row[2] == row[5] and row[3] < row[6] for row in rows)
    assert sql.execute(f"{question}, within_assets => false)", [0.0101]).fetchall() == []
    across = sql.execute(f"{question}, within_assets => false, k => 60)", [0.925]).fetchall()
    assert {row[2] < row[5] for row in across} == {True}
    assert len(across) == 5 * (1 + 2)


def test_assets_are_found_with_their_times_merged(sql: Sql) -> None:
    rows = sql.execute(
        "SELECT asset_id, asset_url, feature_ids, spans::text FROM search_assets('video_model_v1', %s, 2, "
        "'{\"start_time\": [0, 1, 5]}')",
        [str(ORIGIN)],
    ).fetchall()
    assert rows == [(f"v{n:02}", f"https://media/{n}", ["s0", "s1", "s5"], "{[0,2],[5,6]}") for n in range(2)]


def test_a_named_vector_that_is_not_there_names_those_that_are(sql: Sql) -> None:
    with pytest.raises(psycopg.errors.UndefinedObject) as refusal:
        sql.execute("SELECT * FROM evaluate_recall('video_model')")
    assert refusal.value.diag.message_hint == "There are: text_splade, video_model_v1"


def test_recall_is_measured_against_an_exact_search(sql: Sql) -> None:
    asked = "SELECT recall, worst, asked, missing FROM evaluate_recall('video_model_v1', 5, %s, mode => %s)"
    assert sql.execute(asked, [10, "auto"]).fetchone() == (1, 1, 5, 0)
    own = "SELECT recall, asked FROM evaluate_recall('video_model_v1', queries => ARRAY[%s, %s])"
    assert sql.execute(own, [str(ORIGIN)] * 2).fetchone() == (1, 2)
    with pytest.raises(psycopg.Error, match="sample is 0"):
        sql.execute(asked.replace("5,", "0,"), [10, "auto"])


def test_sparse_vectors_are_searched_alike(sql: Sql) -> None:
    near = "{2:1}/1000000000"
    assert len(sql.execute("SELECT * FROM search_text_splade(%s, per_asset => 1)", [near]).fetchall()) == 1
    with pytest.raises(psycopg.Error, match="the query has 5 dimensions"):
        sql.execute("SELECT * FROM search_text_splade('{2:1}/5')")
    assert sql.execute("SELECT recall FROM evaluate_recall('text_splade')").fetchone() == (1,)


def test_every_function_says_what_it_is_for(sql: Sql, common_schema: str) -> None:
    described = sql.execute(
        "SELECT proname, obj_description(oid, 'pg_proc') FROM pg_proc WHERE pronamespace = %s::regnamespace",
        [common_schema],
    ).fetchall()
    assert {*FUNCTIONS, "search_video_model_v1"} < {name for name, _ in described}
    assert [name for name, comment in described if len(comment or "") < 30] == []


# As earlier versions made them, and as they left their books.
EARLIER = """
DROP FUNCTION search_video_model_v1;
CREATE FUNCTION search_video_model_v1(query vector, k integer DEFAULT 10, filter jsonb DEFAULT '{}')
RETURNS SETOF video_model_v1_match LANGUAGE sql AS 'SELECT CAST(NULL AS video_model_v1_match)';
CREATE FUNCTION search_many(named_vector text, queries anyarray) RETURNS integer LANGUAGE sql AS 'SELECT 1';
UPDATE _sync_vectors SET sql_digest = '';
COMMENT ON FUNCTION _sync_search IS NULL;
"""


@pytest.fixture
def earlier(prepared: Prepared, postgres_url: str, schema: str) -> Iterator[Sql]:
    """A connection to a schema of an earlier version, with one feature."""
    prepared({}).apply(batch(asset("a", feature("f"))))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"SET search_path = {schema}, public; {EARLIER}")
        yield connection


def test_functions_of_an_earlier_version_are_replaced_with_their_grants(
    earlier: Sql, prepared: Prepared, postgres_url: str, schema: str
) -> None:
    earlier.execute(
        f"CREATE ROLE {schema}_reader; REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC; "
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {schema}_reader"
    )
    with closing(PgvectorDestination(schema, postgres_url)) as onlooker:
        told = onlooker.planned(SchemaMapping()).statements
        with defined() as done:
            prepared({})
        assert message(done) == message(told)
        assert [words for words in told if words.startswith("DROP ")] == [
            f"DROP FUNCTION {schema}.search_many(text,anyarray)",
            f"DROP FUNCTION {schema}.search_video_model_v1(public.vector,integer,jsonb)",
        ]
        assert onlooker.planned(SchemaMapping()).statements == []
    rights = "SELECT DISTINCT proacl::text FROM pg_proc WHERE pronamespace = %s::regnamespace AND proname = %s"
    for function in ("search_video_model_v1", "search_many", "_sync_where"):
        [(granted,)] = earlier.execute(rights, [schema, function]).fetchall()
        assert f"{schema}_reader=X" in granted
        assert "{=X" not in granted
    assert len(earlier.execute("SELECT * FROM search_video_model_v1('[1,1,1,1,1,1,1,1]')").fetchall()) == 1


def test_what_is_built_on_an_earlier_function_is_named(earlier: Sql, prepared: Prepared) -> None:
    earlier.execute(
        "DROP FUNCTION search_many(text, anyarray, integer, jsonb, double precision, text, integer, integer, "
        "double precision, integer); CREATE VIEW mine AS SELECT search_many('x', ARRAY[1])"
    )
    with pytest.raises(ConfigurationError, match=r"search_many\(text,anyarray\) .* depends on it: .*mine"):
        prepared({})


def test_a_view_that_reads_with_its_callers_rights_needs_no_more_of_them(
    prepared: Prepared, postgres_url: str, schema: str
) -> None:
    destination = prepared({})
    destination.apply(batch(asset("a", feature("f"))))
    with psycopg.connect(postgres_url, autocommit=True) as own:
        own.execute(f"SET search_path = {schema}, public")
        own.execute("ALTER VIEW video_model_v1 SET (security_invoker); UPDATE _sync_vectors SET sql_digest = ''")
        prepared({})
        own.execute(
            f"CREATE ROLE {schema}_reader; GRANT USAGE ON SCHEMA {schema} TO {schema}_reader; "
            f"GRANT SELECT ON video, video__model_v1, video_model_v1 TO {schema}_reader; SET ROLE {schema}_reader"
        )
        question = "SELECT feature_id, asset_url FROM search_video_model_v1('[1,1,1,1,1,1,1,1]')"
        assert own.execute(question).fetchall() == [("f", None)]


UNDESCRIBED = """
SELECT c.relname, a.attname FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = %s::regnamespace AND c.relkind IN ('r', 'v')
AND (obj_description(c.oid, 'pg_class') IS NULL
    OR NOT starts_with(c.relname, '_sync_') AND col_description(c.oid, a.attnum) IS NULL)
"""


@pytest.mark.usefixtures("sql")
def test_every_table_view_and_column_says_what_it_is(sql: Sql, common_schema: str) -> None:
    assert sql.execute(UNDESCRIBED, [common_schema]).fetchall() == []
    described = "SELECT col_description('video_model_v1'::regclass, attnum) FROM pg_attribute WHERE attname = %s AND "
    of_view = "attrelid = 'video_model_v1'::regclass"
    said = sql.execute(f"{described}{of_view}", ["start_time"]).fetchone()
    assert said == ("The source's field 'start_time', as double precision.",)


@pytest.mark.long
def test_a_comment_follows_the_mapping_and_somebody_else_s_stays(
    prepared: Prepared, postgres_url: str, schema: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as own:
        for path in ("metadata.a", "metadata.b"):
            mapping = {"video": {"columns": {"author": {"path": path}}}}
            destination = prepared(mapping)
            made = feature("f", mapping=SchemaMapping.model_validate(mapping))
            destination.apply(batch(asset("a", made)))
            for relation in ("video", "video_model_v1"):
                said = own.execute(
                    "SELECT col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = %s::regclass "
                    "AND attname = 'author'",
                    [f"{schema}.{relation}"],
                ).fetchone()
                assert said == (f"The source's field {path!r}, as text.",)
        own.execute(
            f"COMMENT ON COLUMN {schema}.video.author IS 'ours'; COMMENT ON VIEW {schema}.video_model_v1 IS NULL"
        )
        assert len(destination.planned(SchemaMapping.model_validate(mapping)).statements) == 1
        prepared(mapping)
        assert destination.planned(SchemaMapping.model_validate(mapping)).statements == []
