"""Tables appear and grow from what arrives; nothing that is not ours is touched."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg
import pytest
from pydantic import ValidationError

from vectorferry.connector.plugin import (
    ConfigurationError,
    DestinationError,
    Modality,
    Reason,
    Rejected,
    SchemaMapping,
    SearchQuery,
)
from vectorferry.destinations import PgvectorDestination

from ...builders import asset, batch, dense, feature
from ...examples import family
from ...urls import as_user, in_database
from ...waiting import wait_until
from .conftest import Prepared

Sql = psycopg.Connection[Any]


def relations(sql: Sql, schema: str) -> set[str]:
    rows = sql.execute("SELECT relname FROM pg_class c WHERE relnamespace = %s::regnamespace", [schema])
    return {row[0] for row in rows}


def test_a_new_named_vector_makes_its_table_view_and_function(destination: PgvectorDestination, sql: Sql) -> None:
    destination.apply(batch(asset("a", feature("f1"))))
    destination.apply(batch(asset("b", feature("f2", {"model-v1": dense(), "bge.m3": dense(dimension=5)}))))
    assert sql.execute("SELECT feature_id, vector_dims(embedding) FROM video_bge_m3").fetchall() == [("f2", 5)]
    assert sql.execute("SELECT feature_id FROM search_video_bge_m3('[1,1,1,1,1]')").fetchall() == [("f2",)]


def test_names_that_fold_alike_stay_apart(destination: PgvectorDestination, sql: Sql) -> None:
    names = ["multimodal-v1", "multimodal_v1", "Multimodal.V1", 'multi"; DROP TABLE video; --', "x" * 200]
    vectors = {name: dense(position) for position, name in enumerate(names)}
    destination.apply(batch(asset("a", feature("f", vectors))))
    tables = {table.vector_name: table.name for table in destination.status().tables if table.vector_name}
    assert set(tables) == set(names)
    assert len(set(tables.values())) == len(names)
    for position, name in enumerate(names):
        identifier = psycopg.sql.Identifier(tables[name])
        query = psycopg.sql.SQL("SELECT (embedding::real[])[1] FROM {}").format(identifier)
        assert sql.execute(query).fetchone() == (position,)


def test_a_table_that_somebody_else_made_is_never_written(destination: PgvectorDestination, sql: Sql) -> None:
    sql.execute("CREATE TABLE video_model_v1 (mine text)")
    destination.apply(batch(asset("a", feature("f"))))
    (table,) = [table for table in destination.status().tables if table.vector_name]
    assert table.details["view"] != "video_model_v1"
    assert sql.execute("SELECT count(*) FROM video_model_v1").fetchone() == (0,)


def test_a_modality_table_that_somebody_else_made_is_refused(prepared: Prepared, schema: str, sql: Sql) -> None:
    sql.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.video (mine text)")
    with pytest.raises(ConfigurationError, match=r"not made by Vectorferry.*another `table`"):
        prepared({})


@pytest.mark.parametrize(
    "change",
    family(
        [
            "ALTER TABLE video DROP COLUMN feature_key CASCADE",
            "ALTER TABLE video DROP COLUMN deleted_at CASCADE",
            "ALTER TABLE _sync_modalities DROP COLUMN columns",
            "ALTER TABLE _sync_vectors DROP COLUMN generation",
            "ALTER TABLE _sync_ledger DROP COLUMN contents",
            "ALTER TABLE _sync_quarantine DROP COLUMN kept",
        ],
        always=(0, 3),
    ),
)
def test_a_schema_of_an_early_version_is_refused_by_everybody_with_what_to_do(
    prepared: Prepared, schema: str, sql: Sql, change: str
) -> None:
    destination = prepared({})
    destination.apply(batch(asset("a", feature("f1"))))
    sql.execute(change.encode())
    for command in (
        lambda: prepared({}),
        lambda: destination.planned(SchemaMapping()),
        destination.status,
        lambda: list(destination.rejected()),
        lambda: destination.read_again("ads", ["a"]),
    ):
        with pytest.raises(
            ConfigurationError, match=rf"early version .* another `schema`, .*DROP SCHEMA .{schema}. CASCADE;"
        ):
            command()
    assert sql.execute("SELECT fingerprint FROM _sync_ledger").fetchall() == [("1",)]


@pytest.mark.long
def test_what_a_message_says_to_run_runs_in_a_schema_that_is_a_word_of_sql(
    postgres_url: str, sql: psycopg.Connection[Any]
) -> None:
    with closing(PgvectorDestination("order", postgres_url)) as destination:
        destination.prepare(SchemaMapping())
        sql.execute('DROP TABLE "order"._sync_vectors')
        with pytest.raises(ConfigurationError) as caught:
            destination.prepare(SchemaMapping())
        sql.execute(str(caught.value).rpartition(": ")[2].encode())
        destination.prepare(SchemaMapping())
        sql.execute('DROP SCHEMA "order" CASCADE')


def test_two_keys_of_the_same_number_stay_apart(destination: PgvectorDestination, sql: Sql) -> None:
    destination.apply(batch(*(asset(name, feature(f"f{name}", {"model-v1": dense(2)})) for name in "abc")))
    for table in ("video", "video__model_v1"):  # as if all of them had
        sql.execute(f"ALTER TABLE {table} ALTER COLUMN feature_key SET EXPRESSION AS (7)".encode())
    rows = sql.execute("SELECT asset_id, feature_id FROM video_model_v1 ORDER BY 1").fetchall()
    assert rows == [("a", "fa"), ("b", "fb"), ("c", "fc")]


def test_a_mapped_column_is_added_to_table_view_and_function(prepared: Prepared, schema: str, sql: Sql) -> None:
    first = prepared({})
    first.apply(batch(asset("a", feature("f1"))))
    first.close()
    sql.execute("CREATE ROLE reader_of_" + schema)
    sql.execute(f"GRANT SELECT ON video_model_v1 TO reader_of_{schema}")
    config = {"video": {"columns": {"author": {"path": "metadata.author"}}}}
    mapping = SchemaMapping.model_validate(config)
    second = prepared(config)
    second.apply(batch(asset("a", feature("f1", mapping=mapping, author="ada"), fingerprint="2")))
    second.close()
    assert sql.execute("SELECT author FROM video_model_v1").fetchall() == [("ada",)]
    found = sql.execute("SELECT author FROM search_video_model_v1('[1,1,1,1,1,1,1,1]')").fetchall()
    assert found == [("ada",)]
    granted = sql.execute(f"SELECT has_table_privilege('reader_of_{schema}', 'video_model_v1', 'SELECT')").fetchone()
    assert granted == (True,)


def test_preparing_twice_changes_nothing(prepared: Prepared, schema: str, sql: Sql) -> None:
    first = prepared({})
    first.apply(batch(asset("a", feature("f1"))))
    first.close()
    before = sql.execute("SELECT oid, xmin FROM pg_class WHERE relnamespace = %s::regnamespace", [schema]).fetchall()
    prepared({}).close()
    after = sql.execute("SELECT oid, xmin FROM pg_class WHERE relnamespace = %s::regnamespace", [schema]).fetchall()
    assert after == before


def test_what_is_dropped_while_it_is_looked_at_is_made_again(
    prepared: Prepared, postgres_url: str, schema: str, sql: Sql
) -> None:
    prepared({}).close()
    waiting = "SELECT FROM pg_locks WHERE NOT granted AND relation = '_sync_modalities'::regclass"
    with psycopg.connect(postgres_url) as other, ThreadPoolExecutor() as pool:
        other.execute(f"LOCK TABLE {schema}._sync_modalities".encode())
        preparing = pool.submit(prepared, {})
        wait_until(lambda: sql.execute(waiting).fetchall())
        other.execute(f"DROP SCHEMA {schema} CASCADE".encode())
        other.commit()
        destination = preparing.result()
    assert destination.apply(batch(asset("a", feature("f1")))).assets.inserted == 1


def test_a_schema_that_was_renamed_is_searched_under_its_new_name(
    prepared: Prepared, postgres_url: str, schema: str, sql: Sql
) -> None:
    prepared({}).apply(batch(asset("a", feature("f1"), feature("f2"))))
    new = f"{schema}_renamed"
    sql.execute(f"ALTER SCHEMA {schema} RENAME TO {new}".encode())
    try:
        with closing(PgvectorDestination(new, postgres_url)) as destination:
            destination.prepare(SchemaMapping())
            found = destination.search(SearchQuery(Modality.VIDEO, like="f1"))
        assert [row["feature_id"] for row in found.rows] == ["f2"]
    finally:
        sql.execute(f"ALTER SCHEMA {new} RENAME TO {schema}".encode())


def test_everything_can_be_deleted_where_a_publication_includes_all_tables(
    prepared: Prepared, schema: str, sql: Sql
) -> None:
    """Postgres refuses to delete from a published table whose rows nothing identifies."""
    prepared({})
    unidentified = (
        "SELECT relname FROM pg_class c WHERE relnamespace = current_schema::regnamespace AND relkind = 'r' "
        "AND relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary)"
    )
    assert sql.execute(unidentified).fetchall() == []
    sql.execute("ALTER TABLE _sync_quarantine REPLICA IDENTITY DEFAULT")  # as earlier versions have made it
    sql.execute(f"CREATE PUBLICATION {schema} FOR TABLES IN SCHEMA {schema}".encode())
    try:
        destination = prepared({})
        destination.apply(batch(asset("a", feature("f"))))
        destination.apply(batch(rejected=[Rejected("a", Reason.UNREADABLE, "500")]))
        destination.apply(batch(asset("a", feature("f"))))
        destination.remove("ads", ["a"])
        assert destination.status().quarantined == 0
    finally:
        sql.execute(f"DROP PUBLICATION {schema}".encode())


def test_modality_tables_can_be_renamed_from_the_start(
    prepared: Prepared, postgres_url: str, schema: str, sql: Sql
) -> None:
    destination = prepared({"video": {"table": "clips"}})
    destination.apply(batch(asset("a", feature("f1"))))
    destination.close()
    assert {"clips", "clips__model_v1", "clips_model_v1"} <= relations(sql, schema)
    assert sql.execute("SELECT feature_id FROM search_video_model_v1('[1,1,1,1,1,1,1,1]')").fetchall() == [("f1",)]
    onlooker = PgvectorDestination(schema, postgres_url)
    assert {table.name for table in onlooker.status().tables} >= {"clips", "clips__model_v1"}
    onlooker.close()


@pytest.mark.parametrize(
    ("mapping", "message"),
    family(
        [
            ({"video": {"table": "clips"}}, "already has its video features in the table video"),
            (
                {"video": {"columns": {"text": {"path": "text", "type": "bigint"}}}},
                "text cannot become bigint: .*'soon'",
            ),
            ({"video": {"vectors": {"model-v1": {"storage": "halfvec"}}}}, "already stores vector"),
        ]
    ),
)
def test_a_mapping_that_contradicts_the_tables_is_refused_before_anything_is_written(
    prepared: Prepared, mapping: dict[str, Any], message: str
) -> None:
    first = prepared({})
    first.apply(batch(asset("a", feature("f1", text="soon"))))
    first.close()
    with pytest.raises(ConfigurationError, match=message):
        prepared(mapping)


@pytest.mark.parametrize(
    "mapping",
    [
        {"video": {"table": "assets"}},
        {"image": {"table": "video"}},
        {"video": {"table": "same"}, "image": {"table": "same"}},
        {"video": {"table": "_sync_ledger"}},
        {"video": {"table": "video__model"}},
        {"video": {"table": "v" * 41}},
    ],
)
def test_no_two_tables_can_get_the_same_name(mapping: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SchemaMapping.model_validate(mapping)


@pytest.mark.long
def test_the_longest_names_fit(prepared: Prepared, sql: Sql) -> None:
    destination = prepared({"video": {"table": "v" * 40}})
    destination.apply(batch(asset("a", feature("f", {"n" * 255: dense(), "n" * 254: dense()}))))
    destination.build_indexes()
    assert len({table.name for table in destination.status().tables if table.vector_name}) == 2
    assert sql.execute("SELECT count(*) FROM " + "v" * 40).fetchone() == (1,)


def test_a_dropped_view_is_made_again(prepared: Prepared, sql: Sql) -> None:
    prepared({}).apply(batch(asset("a", feature("f1"))))
    sql.execute("DROP VIEW video_model_v1")
    prepared({})
    assert sql.execute("SELECT feature_id FROM video_model_v1").fetchall() == [("f1",)]


@pytest.mark.parametrize("table", family(["_sync_vectors", "_sync_modalities", "_sync_ledger, _sync_vectors"]))
def test_what_says_what_the_tables_hold_is_not_made_again(
    prepared: Prepared, sql: Sql, schema: str, table: str
) -> None:
    """Nor is a sync named as what would do so: it is the one that fails."""
    prepared({}).apply(batch(asset("a", feature("f1"))))
    sql.execute(f"DROP TABLE {table}")
    dropped = table.rpartition(" ")[2]
    with pytest.raises(ConfigurationError, match=f"{schema}.{dropped} was dropped, and no sync makes it again"):
        prepared({})


def test_whoever_drops_all_books_gets_no_second_tables_beside_the_first_ones(
    prepared: Prepared, sql: Sql, postgres_url: str, schema: str
) -> None:
    """The views that people ask would show the first ones for ever."""
    prepared({}).apply(batch(asset("a", feature("f1"))))
    books = sql.execute(
        "SELECT string_agg(oid::regclass::text, ', ') FROM pg_class "
        "WHERE relnamespace = %s::regnamespace AND relkind = 'r' AND starts_with(relname, '_sync_')",
        [schema],
    ).fetchone()
    assert books
    sql.execute(f"DROP TABLE {books[0]}")
    with pytest.raises(ConfigurationError, match="_sync_vectors was dropped, and no sync makes it again") as caught:
        prepared({})
    with (
        closing(PgvectorDestination(schema, postgres_url)) as looking,
        pytest.raises(ConfigurationError, match="_sync_vectors was dropped"),
    ):
        looking.status()
    sql.execute(str(caught.value).rpartition(": ")[2].encode())
    prepared({}).apply(batch(asset("a", feature("f1"))))
    assert sql.execute("SELECT feature_id FROM video_model_v1").fetchall() == [("f1",)]


@pytest.mark.parametrize("table", family(["video__model_v1", "video", "assets"]))
@pytest.mark.long
def test_what_was_in_a_dropped_table_is_read_again(
    postgres_url: str, schema: str, prepared: Prepared, sql: Sql, table: str
) -> None:
    """Made again without that, it would stay empty: the ledger says that there is nothing to read."""
    whole = batch(asset("a", feature("f1")), asset("b", feature("f1", modality=Modality.AUDIO)))
    prepared({}).apply(whole)
    sql.execute(f"DROP TABLE {table} CASCADE")
    with closing(PgvectorDestination(schema, postgres_url)) as looking:
        planned = (told := looking.planned(SchemaMapping())).known("ads", ["a", "b"])
    assert any(note.startswith(f"{table}: the table was dropped") for note in told.notes)
    again = prepared({})
    known = again.known("ads", ["a", "b"])
    assert known == planned
    assert {name: each.fingerprint for name, each in known.items()} == {"a": "", "b": "" if table == "assets" else "1"}
    again.apply(whole)
    assert list(again.discrepancies("ads", None)) == []
    assert sql.execute("SELECT asset_id FROM video_model_v1").fetchall() == [("a",)]


def test_a_dropped_generation_comes_back_with_the_rights_and_the_row_security_of_another(
    prepared: Prepared, sql: Sql, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    reader = f"{schema}_reader"
    sql.execute(f"CREATE ROLE {reader}")
    try:
        whole = [
            batch(asset("a", feature("f1", {"model-v1": dense(dimension=size)}), fingerprint=str(size)))
            for size in (3, 5)
        ]
        for each in whole:
            prepared({}).apply(each)
        for table in ("video__model_v1", "video__model_v1_5"):
            sql.execute(f"GRANT SELECT ON {table} TO {reader}; ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
            sql.execute(f"CREATE POLICY own ON {table} TO {reader} USING (collection = 'ads')")
        sql.execute("DROP TABLE video__model_v1_5 CASCADE")
        prepared({})
        protected = (
            "SELECT relrowsecurity, has_table_privilege(%s, oid, 'SELECT'), "
            "(SELECT count(*) FROM pg_policy WHERE polrelid = c.oid) FROM pg_class c WHERE oid = %s::regclass"
        )
        assert sql.execute(protected, [reader, "video__model_v1_5"]).fetchone() == (True, True, 1)
        assert "video__model_v1_5: the table was dropped" in caplog.text
    finally:
        sql.execute(f"DROP OWNED BY {reader}; DROP ROLE {reader}")


@pytest.mark.long
def test_nothing_is_read_again_for_a_dropped_generation_that_was_retired(
    prepared: Prepared, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    for size in (3, 5):
        (last := prepared({})).apply(
            batch(asset("a", feature("f1", {"model-v1": dense(dimension=size)}), fingerprint=str(size)))
        )
    last.build_indexes()
    sql.execute("DROP TABLE video__model_v1 CASCADE")
    assert prepared({}).known("ads", ["a"])["a"].fingerprint == "5"
    assert "was dropped" not in caplog.text


def test_vectors_that_have_gone_with_the_extension_can_be_read_again(prepared: Prepared, sql: Sql) -> None:
    whole = batch(asset("a", feature("f1")))
    prepared({}).apply(whole)
    sql.execute("ALTER TABLE video__model_v1 DROP COLUMN embedding CASCADE")
    with pytest.raises(ConfigurationError, match="no column embedding") as told:
        prepared({})
    sql.execute(str(told.value).partition("anew: ")[2])
    again = prepared({})
    again.apply(whole)
    assert list(again.discrepancies("ads", None)) == []


@pytest.mark.parametrize(
    ("table", "column"),
    family(
        [("video", "start_time"), ("video__model_v1", "embedding"), ("assets", "url"), ("_sync_ledger", "features")]
    ),
)
def test_a_column_that_goes_while_a_batch_is_written_is_named(
    destination: PgvectorDestination, sql: Sql, table: str, column: str
) -> None:
    destination.apply(batch(asset("a", feature("f1"))))
    sql.execute(f"ALTER TABLE {table} DROP COLUMN {column} CASCADE".encode())
    with pytest.raises(DestinationError, match=column):
        destination.apply(batch(asset("a", feature("f1", start_time=2.0), fingerprint="2"), asset("b", feature("f1"))))
    assert sql.execute("SELECT asset_id FROM video").fetchall() == [("a",)]


def test_a_type_that_somebody_else_made_is_left_alone(destination: PgvectorDestination, sql: Sql) -> None:
    sql.execute("CREATE DOMAIN video_model_v1_match AS text")
    destination.apply(batch(asset("a", feature("f1"))))
    assert destination.status().tables[1].vector_name == "model-v1"


def test_an_ordinary_user_can_sync_and_change_the_mapping(postgres_url: str, schema: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE EXTENSION IF NOT EXISTS vector; CREATE ROLE {schema} LOGIN")
        admin.execute(f"GRANT CREATE ON DATABASE postgres TO {schema}")
    url = as_user(postgres_url, schema)
    for columns in ({}, {"order": {"path": "order"}, "user": {"path": "metadata.user"}}):
        mapping = SchemaMapping.model_validate({"video": {"columns": columns}})
        destination = PgvectorDestination(schema, url)
        destination.prepare(mapping)
        destination.apply(batch(asset("a", feature("f1", mapping=mapping), fingerprint=str(len(columns)))))
        destination.build_indexes()
        assert len(destination.search(SearchQuery(Modality.VIDEO, vector=dense())).rows) == 1
        destination.close()


@pytest.mark.parametrize("table", family(["video", "_sync_ledger", "video_model_v1"], always=(0,)))
def test_tables_that_hide_rows_from_their_owner_are_refused(postgres_url: str, schema: str, table: str) -> None:
    """Deleting what is hidden deletes nothing, and nobody is told."""
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {schema} LOGIN; CREATE SCHEMA {schema} AUTHORIZATION {schema}".encode())
        admin.execute("CREATE EXTENSION IF NOT EXISTS vector")
        with closing(PgvectorDestination(schema, as_user(postgres_url, schema))) as destination:
            destination.prepare(SchemaMapping())
            destination.apply(batch(asset("a", feature("f1"))))
            name = psycopg.sql.Identifier(schema, table.replace("video_", "video__")).as_string()
            admin.execute(f"CREATE POLICY hides ON {name} USING (asset_id <> 'a') WITH CHECK (true)".encode())
            admin.execute(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY".encode())
            destination.prepare(SchemaMapping())  # which holds for others only
            admin.execute(f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY".encode())
            with pytest.raises(DestinationError, match="rows may be") as refused:
                destination.prepare(SchemaMapping())
            admin.execute(str(refused.value).split("Run: ")[1].encode())
            destination.prepare(SchemaMapping())
            destination.remove("ads", ["a"])
            assert destination.known("ads", ["a"]) == {}


def test_first_runs_that_start_together_all_succeed(postgres_url: str, schema: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {schema}")
    url = in_database(postgres_url, schema)

    def first_run(number: int) -> None:
        destination = PgvectorDestination("media", url)
        destination.prepare(SchemaMapping())
        destination.apply(batch(asset(f"a{number}", feature("f", {"model-v1": dense()}))))
        destination.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(first_run, range(8)))
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM media.video_model_v1").fetchone() == (8,)


def test_text_arrives_whole_whatever_the_client_encoding(
    prepared: Prepared, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    prepared({}).apply(batch(asset("a", feature("f1", text="é 日本", metadata={"ü": "日本"}))))
    sql.execute("SET client_encoding = 'UTF8'")
    assert sql.execute("SELECT text, metadata FROM video").fetchone() == ("é 日本", {"ü": "日本"})


def test_a_changed_layout_lets_refused_vectors_be_read_again(prepared: Prepared) -> None:
    refused = Rejected("a", Reason.REFUSED, "too many elements", "f2", "video")
    first = prepared({})
    first.apply(batch(asset("a", feature("f1"), rejected=[refused]), asset("b", feature("f1"))))
    second = prepared({"video": {"vectors": {"model-v1": {"index": "none"}}}})
    assert {name: each.fingerprint for name, each in second.known("ads", ["a", "b"]).items()} == {"a": "", "b": "1"}


@pytest.mark.long
def test_an_asset_that_is_to_be_read_again_can_be_removed_although_its_record_was_dropped(
    prepared: Prepared, sql: Sql
) -> None:
    refused = Rejected("a", Reason.REFUSED, "too many elements", "f2", "video")
    prepared({}).apply(batch(asset("a", feature("f1"), rejected=[refused])))
    second = prepared({"video": {"vectors": {"model-v1": {"index": "none"}}}})
    second.forget_rejected("ads", ["a"])
    second.remove("ads", [*second.asset_ids("ads")])
    assert sql.execute("SELECT * FROM video").fetchall() == []


def test_a_changed_metric_changes_operator_and_index(prepared: Prepared, sql: Sql) -> None:
    first = prepared({})
    first.apply(batch(asset("a", feature("f1", {"model-v1": dense(0.0)}), feature("f2", {"model-v1": dense(3.0)}))))
    assert [build.table for build in first.build_indexes()] == ["video__model_v1"]
    first.close()
    second = prepared({"video": {"vectors": {"model-v1": {"metric": "l2"}}}})
    assert [build.table for build in second.build_indexes()] == ["video__model_v1"]
    second.close()
    found = sql.execute("SELECT distance FROM search_video_model_v1('[0,1,1,1,1,1,1,1]')").fetchall()
    assert found == [(0.0,), (3.0,)]


def test_pgvector_is_found_in_whatever_schema_it_was_installed(postgres_url: str, schema: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {schema}")
    url = in_database(postgres_url, schema)
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute('CREATE SCHEMA "Extensions Here"; CREATE EXTENSION vector SCHEMA "Extensions Here"')
    destination = PgvectorDestination(schema, url)
    destination.prepare(SchemaMapping())
    destination.apply(batch(asset("a", feature("f1", modality=Modality.AUDIO))))
    destination.build_indexes()
    with psycopg.connect(url) as anyone:
        found = anyone.execute(f"SELECT feature_id FROM {schema}.search_audio_model_v1('[1,1,1,1,1,1,1,1]')").fetchall()
    destination.close()
    assert found == [("f1",)]
