"""A changed mapping changes the columns: added, renamed, retyped, dropped. Grants and indexes stay, and what cannot be
done is refused before anything is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

import psycopg
import pytest

from vectorferry.connector.plugin import Asset, ConfigurationError, Feature, SchemaMapping
from vectorferry.connector.testing import MemorySource, sync
from vectorferry.destinations import PgvectorDestination
from vectorferry.destinations.pgvector import _columns as _castable

from ...builders import asset, batch, dense, feature
from ...examples import family
from .conftest import Prepared, defined, message

Sql = psycopg.Connection[Any]
Columns = dict[str, Any]


def mapped(columns: Columns) -> dict[str, Any]:
    return {"video": {"columns": columns}}


def column(path: str, kind: str = "text") -> dict[str, str]:
    return {"path": path, "type": kind}


@pytest.fixture
def loaded(prepared: Prepared) -> Callable[..., None]:
    """Prepares with these columns, and fills in one feature."""

    def load(columns: Columns, **values: Any) -> None:
        destination, mapping = prepared(mapped(columns)), SchemaMapping.model_validate(mapped(columns))
        destination.apply(batch(asset("a", feature("f", mapping=mapping, **values))))
        destination.build_indexes()
        destination.close()

    return load


@pytest.fixture
def granted(sql: Sql, schema: str) -> Callable[[], list[Any]]:
    """Lets a role read and ask, one more see a column, and gives the rights on everything that was granted."""
    sql.execute(f"CREATE ROLE {schema}_reader; CREATE ROLE {schema}_column".encode())

    def grant() -> list[Any]:
        sql.execute(
            f"GRANT USAGE ON SCHEMA {schema} TO {schema}_reader; "
            f"GRANT SELECT ON video, video_model_v1 TO {schema}_reader; "
            f"GRANT SELECT (feature_id) ON video_model_v1 TO {schema}_column; "
            f"GRANT EXECUTE ON FUNCTION search_video_model_v1 TO {schema}_reader".encode()
        )
        return rights(sql)

    return grant


def rights(sql: Sql) -> list[Any]:
    return sql.execute(
        "SELECT relname, relacl::text FROM pg_class "
        "WHERE relnamespace = current_schema()::regnamespace AND relacl IS NOT NULL "
        "UNION SELECT c.relname || attname, attacl::text FROM pg_attribute JOIN pg_class c ON c.oid = attrelid "
        "WHERE relnamespace = current_schema()::regnamespace AND attacl IS NOT NULL "
        "UNION SELECT proname, proacl::text FROM pg_proc WHERE pronamespace = current_schema()::regnamespace ORDER BY 1"
    ).fetchall()


def everything(sql: Sql) -> list[Any]:
    """What is defined, with the transaction that changed it last."""
    return sql.execute(
        "SELECT c.oid, c.xmin::text, attname, a.xmin::text, a.atttypid FROM pg_class c "
        "JOIN pg_attribute a ON attrelid = c.oid "
        "WHERE relnamespace = current_schema()::regnamespace ORDER BY 1, 3"
    ).fetchall()


def types(sql: Sql, relation: str) -> dict[str, str]:
    found = sql.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
        [relation],
    )
    return dict(found.fetchall())


def asked(sql: Sql, name: str) -> list[Any]:
    found = sql.execute(f"SELECT {name} FROM search_video_model_v1('[1,1,1,1,1,1,1,1]')".encode())
    return [value for (value,) in found]


def test_a_renamed_column_keeps_its_values_its_index_and_what_is_built_upon_it(
    loaded: Callable[..., None], prepared: Prepared, granted: Callable[[], list[Any]], sql: Sql
) -> None:
    loaded({"author": column("metadata.author")}, author="ada")
    sql.execute("CREATE INDEX mine ON video (author); CREATE VIEW theirs AS SELECT author FROM video_model_v1")
    before = granted()
    prepared(mapped({"written_by": column("metadata.author")}))
    assert asked(sql, "written_by") == ["ada"]
    assert sql.execute("SELECT author FROM theirs").fetchall() == [("ada",)]
    assert "written_by" in str(sql.execute("SELECT pg_get_indexdef('mine'::regclass)").fetchone())
    for relation in ("video", "video_model_v1", "video_model_v1_match"):
        assert "author" not in types(sql, relation)
    assert rights(sql) == before


@pytest.mark.parametrize(
    ("held", "value", "wanted", "after"),
    family(
        [
            ("integer", 7, "bigint", 7),
            ("bigint", 7, "double precision", 7.0),
            ("double precision", 7.0, "integer", 7),
            ("double precision", 1.5, "text", "1.5"),
            ("boolean", True, "text", "true"),
            ("text", "7", "bigint", 7),
            ("text", "x", "jsonb", "x"),
            ("jsonb", "x", "text", "x"),
            ("jsonb", 7, "integer", 7),
            ("bigint", None, "timestamptz", None),
        ],
        always=(6,),
    ),
)
def test_another_type_is_applied_to_what_is_there(
    loaded: Callable[..., None],
    prepared: Prepared,
    granted: Callable[[], list[Any]],
    sql: Sql,
    held: str,
    value: Any,
    wanted: str,
    after: Any,
) -> None:
    loaded({"takes": column("takes", held)}, takes=value)
    sql.execute("CREATE INDEX mine ON video (takes)")
    before = granted()
    prepared(mapped({"takes": column("takes", wanted)}))
    assert sql.execute("SELECT takes FROM video_model_v1").fetchall() == [(after,)]
    assert asked(sql, "takes") == [after]
    assert rights(sql) == before
    assert sql.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'mine'::regclass").fetchall() == [(True,)]


@pytest.mark.parametrize(
    ("held", "value", "wanted", "shown"),
    family(
        [
            ("text", "soon", "bigint", "'soon'"),
            ("double precision", 1.5, "integer", "'1.5'"),
            ("bigint", 2**40, "integer", "'1099511627776'"),
            ("jsonb", ["a"], "timestamptz", "'[\"a\"]'"),
            ("text", "ä" * 100, "boolean", "'" + "ä" * 60 + "'"),
        ]
    ),
)
def test_what_cannot_be_cast_is_refused_with_an_example_before_anything_is_touched(
    loaded: Callable[..., None],
    prepared: Prepared,
    postgres_url: str,
    schema: str,
    sql: Sql,
    held: str,
    value: Any,
    wanted: str,
    shown: str,
) -> None:
    loaded({"takes": column("takes", held), "more": column("more")}, takes=value)
    before = everything(sql)
    changed = mapped({"takes": column("takes", wanted), "other": column("more"), "new": column("new")})
    onlooker = PgvectorDestination(schema, postgres_url)
    for attempt in (prepared, lambda tree: onlooker.planned(SchemaMapping.model_validate(tree))):
        with pytest.raises(ConfigurationError) as refused:
            attempt(changed)
        assert f"takes cannot become {wanted}: feature f of asset a has {shown}. Nothing was" in str(refused.value)
    onlooker.close()
    assert everything(sql) == before


def test_a_column_that_is_not_mapped_any_more_goes(
    loaded: Callable[..., None], prepared: Prepared, granted: Callable[[], list[Any]], sql: Sql
) -> None:
    loaded({"author": column("metadata.author"), "takes": column("takes", "bigint")}, author="ada", takes=1)
    sql.execute("CREATE INDEX mine ON video (takes); ALTER TABLE video ADD COLUMN note text DEFAULT 'theirs'")
    before = granted()
    prepared(mapped({"takes": column("takes", "bigint")}))
    for relation in ("video", "video_model_v1", "video_model_v1_match"):
        assert "author" not in types(sql, relation)
    assert types(sql, "video")["note"] == "text"
    assert asked(sql, "takes") == [1]
    assert rights(sql) == before


@pytest.mark.parametrize(
    ("wish", "changed"),
    family(
        [
            ({"index": True}, {}),
            ({"full_text": "english"}, {}),
            ({"type": "jsonb", "index": True}, {}),
            ({"type": "bigint", "index": True}, {"author": column("metadata.author", "jsonb")}),
            ({"index": True, "full_text": "english"}, {"author": column("metadata.author", "jsonb")}),
        ],
        always=(0, 1),
    ),
)
def test_an_index_that_the_mapping_had_is_in_no_columns_way(
    loaded: Callable[..., None], prepared: Prepared, sql: Sql, wish: Columns, changed: Columns
) -> None:
    loaded({"author": {"path": "metadata.author", **wish}})
    chosen = "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() AND indexname ~ '^_sync_by_'"
    assert "author" in str(sql.execute(chosen).fetchall())
    prepared(mapped(changed))
    assert sql.execute(chosen).fetchall() == []
    assert ("author" in types(sql, "video")) == bool(changed)


@pytest.mark.parametrize(
    ("built", "changed", "told"),
    family(
        [
            (
                "CREATE INDEX mine ON video (author)",
                {},
                r"author is not mapped any more .* index \S*mine\. Drop that first",
            ),
            (
                "CREATE VIEW mine AS SELECT author FROM video",
                {},
                r"not mapped any more .* view \S*mine\. Drop that first",
            ),
            ("CREATE VIEW mine AS SELECT author FROM video_model_v1", {}, r"depends on it: view \S*mine\. Drop that"),
            (
                "CREATE VIEW mine AS SELECT author FROM video",
                {"author": column("metadata.author", "jsonb")},
                r"author gets another type, and depends on it: view \S*mine\. Drop that first",
            ),
            (
                "CREATE MATERIALIZED VIEW mine AS SELECT feature_id FROM video_model_v1",
                {"author": column("metadata.author", "jsonb")},
                r"has to be made anew, and depends on it: view \S*mine",
            ),
            (
                "CREATE FUNCTION mine() RETURNS SETOF video_model_v1 LANGUAGE sql AS 'SELECT * FROM video_model_v1'",
                {},
                r"has to be made anew, and depends on it: function \S*mine\(\)",
            ),
            (
                "CREATE VIEW mine AS SELECT author FROM search_video_model_v1('[1,1,1,1,1,1,1,1]')",
                {},
                r"video_model_v1_match.author is not mapped any more .* view \S*mine\. Drop that first",
            ),
            (
                "CREATE TABLE mine (one video)",
                {"author": column("metadata.author", "jsonb")},
                r"author gets another type, and depends on it: column one of table \S*mine\. Drop that first",
            ),
        ],
        always=(0, 5),
    ),
)
def test_what_somebody_has_built_upon_it_is_named_before_anything_is_touched(
    loaded: Callable[..., None], prepared: Prepared, sql: Sql, built: str, changed: Columns, told: str
) -> None:
    loaded({"author": column("metadata.author")}, author="ada")
    sql.execute(built.encode())
    before = everything(sql)
    with pytest.raises(ConfigurationError, match=told):
        prepared(mapped(changed))
    assert everything(sql) == before


@pytest.mark.long
def test_every_generation_shows_the_changed_columns(prepared: Prepared, sql: Sql) -> None:
    destination = prepared(mapped({"takes": column("takes", "integer"), "old": column("old")}))
    for name, dimension in (("a", 8), ("b", 3)):
        mapping = SchemaMapping.model_validate(mapped({"takes": column("takes", "integer"), "old": column("old")}))
        vectors = {"model-v1": dense(dimension=dimension)}
        destination.apply(batch(asset(name, feature("f", vectors, mapping=mapping, takes=1))))
    prepared(mapped({"takes": column("takes", "text")}))
    for view in ("video_model_v1", "video_model_v1_8", "video_model_v1_3"):
        assert types(sql, view)["takes"] == types(sql, f"{view}_match")["takes"] == "text"
        assert "old" not in types(sql, view)


@pytest.mark.long
def test_words_that_postgres_reserves_are_names_like_any_other(
    loaded: Callable[..., None], prepared: Prepared, sql: Sql
) -> None:
    found = sql.execute("SELECT word FROM pg_get_keywords() WHERE catcode <> 'U' AND word ~ '^[a-z_]+$'").fetchall()
    words = [word for (word,) in found]
    loaded({word: column(f"metadata.{word}") for word in words}, **dict.fromkeys(words, "x"))
    prepared(mapped({word: column(f"metadata.{word}", "jsonb") for word in words}))
    assert asked(sql, ' || "lateral" || '.join(f'"{word}"' for word in ("tablesample", "order"))) == [["x", "x", "x"]]
    prepared(mapped({f"{word}_": column(f"metadata.{word}", "jsonb") for word in words}))
    assert asked(sql, "lateral_") == ["x"]
    prepared({})
    assert "lateral_" not in types(sql, "video_model_v1")


@pytest.mark.parametrize(
    "changed",
    family(
        [
            {"author": column("metadata.author"), "more": column("more")},
            {"author": column("metadata.author", "jsonb")},
            {},
        ]
    ),
)
@pytest.mark.long
def test_a_view_that_reads_with_its_callers_rights_goes_on_to_do_so(
    loaded: Callable[..., None], prepared: Prepared, sql: Sql, changed: Columns
) -> None:
    loaded({"author": column("metadata.author")}, author="ada")
    sql.execute("ALTER VIEW video_model_v1 SET (security_invoker, security_barrier = false)")
    destination = prepared(mapped(changed))
    for dimension in (3, 5_000):
        destination.apply(batch(asset("a", feature("f", {"model-v1": dense(dimension=dimension)}))))
        destination.build_indexes()
    options = "SELECT relname, reloptions FROM pg_class WHERE oid = ANY(%s::regclass[])"
    views = ["video_model_v1", "video_model_v1_3", "video_model_v1_5000", "video_model_v1_8"]
    kept = ["security_invoker=true", "security_barrier=false"]
    assert sorted(sql.execute(options, [views]).fetchall()) == [(view, kept) for view in views]


@pytest.mark.long
def test_a_plan_announces_all_of_it_and_changes_nothing(
    loaded: Callable[..., None], prepared: Prepared, sql: Sql, postgres_url: str, schema: str
) -> None:
    loaded(
        {"a": column("a"), "b": column("b", "integer"), "c": column("c"), "order": column("order", "jsonb")}, b=1, a="x"
    )
    changed = mapped({"z": column("a"), "b": column("b", "text"), "d": column("d"), "order": column("order")})
    before = everything(sql)
    with closing(PgvectorDestination(schema, postgres_url)) as onlooker:
        told = onlooker.planned(SchemaMapping.model_validate(changed))
    assert everything(sql) == before
    with defined() as done:
        prepared(changed)
    assert message(done) == message(told.statements)
    assert [statement.split(" ", 3)[3] for statement in told.statements if statement.startswith("ALTER TABLE")] == [
        'RENAME COLUMN "a" TO "z"',
        'DROP COLUMN "c"',
        'ALTER COLUMN "b" TYPE text USING CAST("b" AS text)',
        'ALTER COLUMN "order" TYPE text USING ("order" #>> \'{}\')',
        'ADD COLUMN "d" text',
    ]
    with defined() as again:
        prepared(changed)
    assert again == []


@pytest.mark.long
def test_a_server_that_cannot_be_asked_for_the_value_tells_it_all_the_same(
    loaded: Callable[..., None], prepared: Prepared, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_castable, "_CAN_BE_ASKED", 1_000_000)
    loaded({"takes": column("takes"), "more": column("more")}, takes="soon", more="1")
    before = everything(sql)
    with pytest.raises(ConfigurationError, match=r'takes cannot become bigint: invalid input .*"soon"'):
        prepared(mapped({"takes": column("takes", "bigint"), "more": column("more", "bigint")}))
    assert everything(sql) == before
    prepared(mapped({"takes": column("takes"), "more": column("more", "bigint")}))
    assert asked(sql, "more") == [1]


def test_a_column_that_somebody_else_has_added_is_never_cast(
    loaded: Callable[..., None], prepared: Prepared, sql: Sql
) -> None:
    loaded({})
    sql.execute("ALTER TABLE video ADD COLUMN note text DEFAULT '7'")
    with pytest.raises(
        ConfigurationError, match="note was not made by Vectorferry and is text, the mapping says bigint"
    ):
        prepared(mapped({"note": column("note", "bigint")}))
    assert types(sql, "video")["note"] == "text"


@pytest.mark.long
def test_the_next_sync_fills_what_has_changed(postgres_url: str, schema: str, sql: Sql) -> None:
    fields = {"takes": 7, "metadata": {"author": "ada"}}
    source = MemorySource(
        {"ads": [Asset("a", "1", "video", features=(Feature("f", "video", fields, {"m": dense()}),))]}
    )
    with closing(PgvectorDestination(schema, postgres_url)) as destination:
        for columns in ({}, {"takes": column("takes"), "author": column("metadata.author")}):
            mapping = SchemaMapping.model_validate(mapped(columns))
            assert asyncio.run(sync(source, [destination], name="media", mapping=mapping)).exit_code == 0
        assert sql.execute("SELECT takes, author FROM video_m").fetchall() == [("7", "ada")]
        mapping = SchemaMapping.model_validate(mapped({"takes": column("takes", "integer")}))
        asyncio.run(sync(source, [destination], name="media", mapping=mapping))
        assert sql.execute("SELECT takes, extra FROM video_m").fetchall() == [(7, {})]
        assert list(destination.discrepancies("ads")) == []


ASKED = ("3", "k => 150", "mode => 'exact'", "diversity => 0.5", "per_asset => 3", 'filter => \'{"asset_id": "a"}\'')


@pytest.mark.parametrize("index", family(["hnsw", "ivfflat"]))
@pytest.mark.long
def test_whoever_has_searched_before_goes_on_to_find(prepared: Prepared, sql: Sql, index: str) -> None:
    """A session keeps plans, and Postgres does not see that those of a row type's array are out of date."""

    def found() -> Iterable[int]:
        queries = (f"SELECT feature_id FROM search_video_model_v1('{[1] * 8}', {more})" for more in ASKED)
        return [len(sql.execute(query.encode()).fetchall()) for query in queries]

    def prepare(*names: str) -> PgvectorDestination:
        mapping = mapped({name: column(f"metadata.{name}") for name in names})
        mapping["video"]["vectors"] = {"model-v1": {"index": index}}
        return prepared(mapping)

    destination = prepare()
    destination.apply(batch(asset("a", *(feature(f"f{number}", {"model-v1": dense(number)}) for number in range(3)))))
    destination.build_indexes()
    for names in ((), ("one",), ("one", "two"), ("two",), ("three",)):
        prepare(*names)
        assert found() == [3] * len(ASKED)
