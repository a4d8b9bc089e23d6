"""People who never saw this code ask in SQL, and get right answers, filtered ones too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from vectorferry.connector.plugin import ConfigurationError, DestinationError, Modality, SchemaMapping, SearchQuery
from vectorferry.destinations import PgvectorDestination

from ...builders import asset, batch, dense, feature, sparse
from ...urls import as_user

Sql = psycopg.Connection[Any]
ORIGIN = "[0,1,1,1,1,1,1,1]"


@pytest.fixture(scope="module")
def asked(postgres_url: str, common_schema: str) -> Iterator[PgvectorDestination]:
    """One that is only asked."""
    with closing(PgvectorDestination(common_schema, postgres_url)) as destination:
        yield load(destination)


@pytest.fixture
def loaded(postgres_url: str, schema: str) -> Iterator[PgvectorDestination]:
    """One of the test's own."""
    with closing(PgvectorDestination(schema, postgres_url)) as destination:
        yield load(destination)


@pytest.fixture
def sql(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[Sql]:
    """A connection that finds the schema that is asked, or the test's own, without a prefix."""
    schema = request.getfixturevalue("common_schema" if "asked" in request.fixturenames else "schema")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"SET search_path = {schema}, public")
        yield connection


def load(destination: PgvectorDestination) -> PgvectorDestination:
    """Ten features whose distance from the origin grows, in two collections, and one text."""
    destination.prepare(SchemaMapping.model_validate({"video": {"vectors": {"model-v1": {"metric": "l2"}}}}))
    for number in range(10):
        one = feature(
            f"f{number}",
            {"model-v1": dense(number)},
            metadata={"author": "ada" if number % 2 else "bob", "tags": ["x", "y"]},
            start_time=float(number),
            text=f"it's number {number}",
        )
        destination.apply(batch(asset(f"a{number}", one), collection="ads" if number < 5 else "films"))
    destination.apply(batch(asset("t", feature("t1", {"splade": sparse({1: 1.0})}, modality=Modality.TEXT))))
    destination.build_indexes()
    return destination


def found(sql: Sql, filters: str = "{}", k: int = 10) -> list[str]:
    rows = sql.execute("SELECT feature_id FROM search_video_model_v1(%s, %s, %s)", [ORIGIN, k, filters])
    return [row[0] for row in rows]


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ("{}", range(10)),
        ('{"collection": "films"}', range(5, 10)),
        ('{"collection": ["films", "nowhere"]}', range(5, 10)),
        ('{"metadata": {"author": "ada"}}', range(1, 10, 2)),
        ('{"metadata": {"tags": ["y"]}, "start_time": {"gte": 2, "lt": 4}}', range(2, 4)),
        ('{"text": "it\'s number 3"}', [3]),
        ('{"description": null, "start_time": {"ne": 0}}', range(1, 10)),
        ('{"description": {"ne": null}}', []),
        ('{"description": ["nothing", null], "json_output": null}', range(10)),
        ('{"text": "\'; DROP TABLE video; --"}', []),
    ],
)
@pytest.mark.usefixtures("asked")
def test_filters_mean_what_they_say(sql: Sql, filters: str, numbers: range) -> None:
    assert found(sql, filters) == [f"f{number}" for number in numbers]


@pytest.mark.usefixtures("asked")
def test_filters_mean_the_same_to_a_session_that_quotes_all_names(sql: Sql) -> None:
    """As `pg_dump --quote-all-identifiers` does, and whoever has it as a role's default."""
    sql.execute("SET quote_all_identifiers = on")
    assert found(sql, '{"text": {"like": "it%4"}, "metadata.author": ["bob"], "collection": "ads"}') == ["f4"]
    rows = sql.execute("SELECT asset_id, spans FROM search_assets('video_model_v1', %s, 1)", [ORIGIN]).fetchall()
    assert [row[0] for row in rows] == ["a0"]


@pytest.mark.parametrize(
    "filters",
    [
        '{"nope": 1}',
        '{"start_time": {"about": 1}}',
        "[1]",
        '{"start_time": "soon"}',
        '{"start_time": {}}',
        '{"start_time": {"gt": null}}',
    ],
)
@pytest.mark.usefixtures("asked")
def test_a_filter_that_means_nothing_is_an_error_not_an_empty_answer(sql: Sql, filters: str) -> None:
    with pytest.raises(
        psycopg.Error, match=r"no column \"nope\"|unknown comparison|JSON object|invalid input|nothing to compare"
    ):
        found(sql, filters)


def test_a_reader_with_only_view_and_function_gets_ten_of_a_collection(
    loaded: PgvectorDestination, postgres_url: str, schema: str, sql: Sql
) -> None:
    more = [asset(f"m{i}", feature(f"m{i}", {"model-v1": dense(i / 10)})) for i in range(20)]
    loaded.apply(batch(*more, collection="films"))
    sql.execute(
        f"""CREATE ROLE {schema}_reader LOGIN;
        GRANT USAGE ON SCHEMA {schema} TO {schema}_reader;
        GRANT SELECT ON video_model_v1 TO {schema}_reader;
        GRANT EXECUTE ON FUNCTION search_video_model_v1 TO {schema}_reader"""
    )
    url = as_user(postgres_url, f"{schema}_reader")
    with psycopg.connect(url, autocommit=True) as reader:
        question = f"SELECT * FROM {schema}.search_video_model_v1('{ORIGIN}', 10, '{{\"collection\": \"films\"}}')"
        assert len(reader.execute(question).fetchall()) == 10
        by_hand = f"SELECT feature_id FROM {schema}.video_model_v1 ORDER BY embedding <-> '{ORIGIN}' LIMIT 10"
        assert len(reader.execute(by_hand).fetchall()) == 10
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute(f"SELECT * FROM {schema}.video")


def test_more_like_this_leaves_the_thing_itself_out(asked: PgvectorDestination, sql: Sql) -> None:
    answer = asked.search(SearchQuery(Modality.VIDEO, like="f0", limit=3))
    assert [row["feature_id"] for row in answer.rows] == ["f1", "f2", "f3"]
    typed = sql.execute(answer.statement).fetchall()
    assert [row[3] for row in typed] == ["f1", "f2", "f3"]


def test_an_id_that_two_assets_share_still_gives_as_many_as_asked_for(loaded: PgvectorDestination) -> None:
    loaded.apply(batch(asset("twin", feature("f0", {"model-v1": dense(0.5)})), collection="films"))
    answer = loaded.search(SearchQuery(Modality.VIDEO, like="f0", limit=4))
    assert len(answer.rows) == 4


@pytest.mark.usefixtures("asked")
def test_no_k_means_ten(sql: Sql) -> None:
    rows = sql.execute("SELECT count(*) FROM search_video_model_v1(%s, NULL)", [ORIGIN]).fetchone()
    assert rows == (10,)


def test_a_vector_can_be_given(asked: PgvectorDestination) -> None:
    answer = asked.search(SearchQuery(Modality.VIDEO, vector=dense(9.0), limit=2, filters={"collection": "films"}))
    assert [row["feature_id"] for row in answer.rows] == ["f9", "f8"]
    sparse_answer = asked.search(SearchQuery(Modality.TEXT, vector=sparse({1: 0.5})))
    assert [row["feature_id"] for row in sparse_answer.rows] == ["t1"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            SearchQuery(Modality.IMAGE, like="x"),
            "there are no image vectors: choose one of video, text with --modality$",
        ),
        (SearchQuery(Modality.VIDEO, "other", like="x"), "no vector named other: choose one of model-v1"),
        (SearchQuery(Modality.VIDEO, like="nobody"), "no video feature nobody has a vector named model-v1$"),
        (SearchQuery(Modality.VIDEO, like="t1"), "no video feature t1 .* model-v1; ask with --modality text$"),
        (SearchQuery(Modality.VIDEO), "--like"),
        (SearchQuery(Modality.VIDEO, like="f1", limit=0), "ask for 1 to 100,000 rows"),
        (SearchQuery(Modality.VIDEO, like="f1", limit=2**31), "ask for 1 to 100,000 rows"),
        (SearchQuery(Modality.VIDEO, like="\ud800"), "not Unicode"),
        (SearchQuery(Modality.VIDEO, like="\0"), "the search was refused: .+"),
        (
            SearchQuery(Modality.VIDEO, like="f1", filters={"start_time": {"gt": 2**70, "about": 1}}),
            "unknown comparison",
        ),
        (
            SearchQuery(Modality.VIDEO, vector=dense(dimension=3)),
            "the query has 3 dimensions, and the vectors of .* have 8",
        ),
        (
            SearchQuery(Modality.VIDEO, vector=sparse({1: 1.0})),
            "^model-v1 of video is dense, and the vector given is sparse$",
        ),
        (SearchQuery(Modality.TEXT, vector=dense(1)), "^splade of text is sparse, and the vector given is dense$"),
        (SearchQuery(Modality.VIDEO, like="f1", filters={"nope": 1}), 'no column "nope".*Columns: collection'),
    ],
)
def test_a_question_that_cannot_be_answered_says_why(
    asked: PgvectorDestination, query: SearchQuery, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        asked.search(query)


def test_a_schema_that_was_never_synced_says_so(postgres_url: str) -> None:
    destination = PgvectorDestination("never_synced", postgres_url)
    with pytest.raises(DestinationError, match=r"nothing has been synced .* run `vectorferry sync` first"):
        destination.search(SearchQuery(Modality.VIDEO, like="x"))
    destination.close()
