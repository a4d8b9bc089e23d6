"""What a changed dimension leaves behind is listed, and dropped by command when nothing needs it."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from vectorferry.connector.plugin import Capability, ConfigurationError, LockedError, SchemaMapping
from vectorferry.destinations import PgvectorDestination

from ...builders import asset, batch, dense, feature
from ...examples import family
from .conftest import Prepared

Sql = psycopg.Connection[Any]
NAME = "model-v1"
COLUMNS: dict[str, Any] = {"video": {"columns": {"author": {"path": "metadata.author"}}}}


def of(dimension: int, *assets: str) -> list[Any]:
    return [asset(name, feature("f", {NAME: dense(dimension=dimension)})) for name in assets]


@pytest.fixture
def switched(prepared: Prepared) -> PgvectorDestination:
    """All of 8 dimensions first, then all of 3."""
    destination = prepared({})
    for dimension in (8, 3):
        destination.apply(batch(*of(dimension, "a", "b")))
        destination.build_indexes()
    return destination


def listed(destination: PgvectorDestination) -> list[tuple[str, int, int, str, str]]:
    return [(t.table, t.rows, t.superseded, t.state, t.view) for t in destination.vector_tables()]


def names_of(sql: Sql) -> set[str]:
    found = sql.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
        "UNION SELECT proname FROM pg_proc WHERE pronamespace = current_schema()::regnamespace"
    )
    return {name for (name,) in found if "model_v1" in name}


def test_it_lists_what_there_is(prepared: Prepared) -> None:
    destination = prepared({})
    assert Capability.VECTOR_TABLES in destination.capabilities
    destination.apply(batch(*of(8, "a", "b")))
    destination.apply(batch(*of(3, "a")))
    assert listed(destination) == [
        ("video__model_v1", 1, 1, "current", "video_model_v1"),
        ("video__model_v1_3", 1, 0, "filling", "video_model_v1_3"),
    ]
    assert {table.storage for table in destination.vector_tables()} == {"vector(8)", "vector(3)"}


def test_a_retired_one_goes_with_what_shows_it_and_nothing_else_changes(
    switched: PgvectorDestination, prepared: Prepared, sql: Sql
) -> None:
    assert listed(switched) == [
        ("video__model_v1", 0, 2, "retired", "video_model_v1_8"),
        ("video__model_v1_3", 2, 0, "current", "video_model_v1"),
    ]
    (dropped,) = switched.drop_vector_tables(["video__model_v1"])
    assert dropped.superseded == 2
    assert names_of(sql) == {
        "video__model_v1_3",
        "video__model_v1_3_pkey",
        "video__model_v1_3_hnsw",
        "video__model_v1_3_key",
        *("video_model_v1", "video_model_v1_match", "search_video_model_v1"),
        *("video_model_v1_3", "video_model_v1_3_match", "search_video_model_v1_3"),
    }
    asked = "SELECT count(*) FROM search_video_model_v1('[1,1,1]')"
    assert sql.execute(asked).fetchall() == [(2,)]
    again = prepared({})
    again.apply(batch(*of(3, "a", "b", "c")))
    assert sql.execute(asked).fetchall() == [(3,)]
    again.apply(batch(*of(8, "d")))
    assert listed(again)[1][:4] == ("video__model_v1_8", 1, 0, "filling")


@pytest.mark.long
def test_what_is_in_use_is_refused_and_nothing_is_dropped(switched: PgvectorDestination) -> None:
    switched.apply(batch(*of(5, "c")))
    before = listed(switched)
    for table, why in [
        ("video__model_v1_3", "what the view shows; it is retired once every feature has"),
        ("video__model_v1_5", "in use: it holds the vectors of 1 features"),
        ("video", "no table of vectors video; see: vectorferry vectors list"),
    ]:
        with pytest.raises(ConfigurationError, match=why):
            switched.drop_vector_tables(["video__model_v1", table])
    assert listed(switched) == before


@pytest.mark.long
def test_a_named_vector_that_no_feature_has_any_more_can_go_as_a_whole(prepared: Prepared, sql: Sql) -> None:
    destination = prepared({})
    destination.apply(batch(*of(8, "a")))
    destination.apply(batch(asset("a", feature("f", {"model-v2": dense()}), fingerprint="2")))
    destination.drop_vector_tables(["video__model_v1"])
    assert names_of(sql) == set()
    assert [table.vector_name for table in destination.vector_tables()] == ["model-v2"]
    anew = prepared({})
    anew.apply(batch(*of(8, "a")))
    assert "search_video_model_v1" in names_of(sql)


@pytest.mark.long
def test_while_a_sync_runs_nothing_is_dropped(switched: PgvectorDestination, prepared: Prepared) -> None:
    with prepared({}).lock("ads"), pytest.raises(LockedError, match="a sync is writing"):
        switched.drop_vector_tables(["video__model_v1"])


@pytest.mark.parametrize("upon", family(["video__model_v1", "video_model_v1_8"]))
def test_what_somebody_has_built_upon_stays(switched: PgvectorDestination, sql: Sql, upon: str) -> None:
    sql.execute(f"CREATE VIEW mine AS SELECT feature_id FROM {upon}".encode())
    with pytest.raises(ConfigurationError, match=r"needed by view \S*mine"):
        switched.drop_vector_tables(["video__model_v1"])


@pytest.mark.long
def test_mapped_columns_stay_in_the_views(prepared: Prepared, sql: Sql) -> None:
    destination, mapping = prepared(COLUMNS), SchemaMapping.model_validate(COLUMNS)
    for dimension in (8, 3):
        vectors = {NAME: dense(dimension=dimension)}
        destination.apply(batch(asset("a", feature("f", vectors, mapping=mapping, author="ada"))))
        destination.build_indexes()
    destination.drop_vector_tables(["video__model_v1"])
    assert sql.execute("SELECT author FROM search_video_model_v1('[1,1,1]')").fetchall() == [("ada",)]
