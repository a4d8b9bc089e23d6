"""A record that Postgres itself refuses is found and set aside with its words; everything beside it is written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event

from vectorferry.connector.plugin import (
    Counts,
    DestinationError,
    MappedAsset,
    MappedFeature,
    Modality,
    Reason,
    Rejected,
    RetryableError,
)
from vectorferry.destinations import PgvectorDestination
from vectorferry.destinations.pgvector import _bisect

from ...builders import asset, batch, dense, feature
from ...examples import family

Sql = psycopg.Connection[Any]
LONG = "".join(Random(7).choices("abcdefghijklmnopqrstuvwxyz", k=5_000))
"""Too long for a btree entry, however well Postgres compresses it."""


@pytest.fixture
def indexed(destination: PgvectorDestination, sql: Sql) -> PgvectorDestination:
    """A destination whose user has indexed transcriptions, which works until one of them is long."""
    sql.execute("CREATE INDEX spoken ON video (transcription)")
    return destination


def held(sql: Sql, table: str = "video") -> list[tuple[str, str]]:
    return sql.execute(f"SELECT asset_id, feature_id FROM {table} ORDER BY 1, 2").fetchall()


def aside(sql: Sql) -> list[tuple[str, str, str, str]]:
    found = sql.execute("SELECT asset_id, feature_id, reason, detail FROM _sync_quarantine ORDER BY 1, 2")
    return found.fetchall()


def spoken(feature_id: str, said: str = "hello") -> MappedFeature:
    return feature(feature_id, transcription=said)


@contextmanager
def counted_savepoints() -> Iterator[list[str]]:
    """Every savepoint that is made meanwhile."""
    made: list[str] = []

    def note(_connection: object, name: str) -> None:
        made.append(name)

    event.listen(Engine, "savepoint", note)
    try:
        yield made
    finally:
        event.remove(Engine, "savepoint", note)


def test_a_value_too_long_for_an_index_is_set_aside_alone(indexed: PgvectorDestination, sql: Sql) -> None:
    whole = asset("b", spoken("f1"), spoken("f2", LONG), spoken("f3"))
    applied = indexed.apply(batch(asset("a", spoken("f")), whole, asset("c", spoken("f"))))
    assert held(sql) == held(sql, "video__model_v1") == [("a", "f"), ("b", "f1"), ("b", "f3"), ("c", "f")]
    assert applied.assets == Counts(inserted=3)
    assert applied.features[Modality.VIDEO] == Counts(inserted=4, quarantined=1)
    ((asset_id, feature_id, reason, detail),) = aside(sql)
    assert (asset_id, feature_id, reason) == ("b", "f2", Reason.REFUSED)
    assert detail.startswith("index row")
    assert 'for index "spoken"' in detail
    assert [str(each.detail) for each in applied.rejected] == [detail]
    assert indexed.known("ads", ["b"])["b"].features[Modality.VIDEO] == 2


@pytest.mark.long
def test_the_same_batch_again_changes_nothing(indexed: PgvectorDestination, sql: Sql) -> None:
    same = batch(asset("a", spoken("f1"), spoken("f2", LONG)), asset("b", spoken("f")))
    indexed.apply(same)
    before = sql.execute("SELECT xmin::text FROM video UNION ALL SELECT xmin::text FROM _sync_quarantine").fetchall()
    again = indexed.apply(same)
    after = sql.execute("SELECT xmin::text FROM video UNION ALL SELECT xmin::text FROM _sync_quarantine").fetchall()
    assert again.features[Modality.VIDEO] == Counts(unchanged=2, quarantined=1)
    assert before == after


def test_a_good_version_empties_the_quarantine(indexed: PgvectorDestination, sql: Sql) -> None:
    indexed.apply(batch(asset("a", spoken("f1", LONG), spoken("f2")), asset("b", spoken("f", LONG))))
    assert len(aside(sql)) == 2
    indexed.apply(batch(asset("a", spoken("f1"), spoken("f2"), fingerprint="2"), asset("b", fingerprint="2")))
    assert aside(sql) == []
    assert held(sql) == [("a", "f1"), ("a", "f2")]


@pytest.mark.long
def test_one_of_ten_thousand_costs_few_statements(indexed: PgvectorDestination, sql: Sql) -> None:
    features, per_asset = 10_000, 4
    names = [f"{number:05}" for number in range(features)]
    culprit = names[6_173]
    assets = [
        asset(f"a{first}", *(spoken(name, LONG if name == culprit else "hello") for name in names[at : at + per_asset]))
        for at, first in ((at, names[at]) for at in range(0, features, per_asset))
    ]
    with counted_savepoints() as made:
        applied = indexed.apply(batch(*assets))
    assert applied.features[Modality.VIDEO] == Counts(inserted=features - 1, quarantined=1)
    assert [feature_id for _, feature_id, _, _ in aside(sql)] == [culprit]
    assert sql.execute("SELECT count(*) FROM video__model_v1").fetchone() == (features - 1,)
    assert 0 < len(made) <= 2 * math.log2(features) + 4


def test_nothing_is_tried_twice_where_nothing_is_refused(indexed: PgvectorDestination) -> None:
    with counted_savepoints() as made:
        indexed.apply(batch(*(asset(f"a{number}", spoken("f")) for number in range(50))))
    assert made == []


@pytest.mark.long
def test_many_culprits_are_all_found(indexed: PgvectorDestination, sql: Sql) -> None:
    bad = {3, 4, 17, 40, 63}
    indexed.apply(batch(*(asset(f"{n:02}", spoken("f", LONG if n in bad else "")) for n in range(64))))
    assert {int(asset_id) for asset_id, _, _, _ in aside(sql)} == bad
    assert {int(asset_id) for asset_id, _ in held(sql)} == set(range(64)) - bad


def test_what_was_set_aside_before_is_set_aside_as_well(indexed: PgvectorDestination, sql: Sql) -> None:
    before = Rejected("a", Reason.NOT_FINITE, "NaN", "f0", "video")
    odd = feature("f9", {"model-v1": dense(1, dimension=16_001)})
    indexed.apply(batch(asset("z", spoken("f"))))
    indexed.apply(
        batch(
            asset("a", spoken("f1"), spoken("f2", LONG), odd, rejected=[before]),
            rejected=[Rejected("b", Reason.UNREADABLE, "500")],
        )
    )
    assert [(asset_id, feature_id, reason) for asset_id, feature_id, reason, _ in aside(sql)] == [
        ("a", "f0", Reason.NOT_FINITE),
        ("a", "f2", Reason.REFUSED),
        ("a", "f9", Reason.DIMENSION),
        ("b", "", Reason.UNREADABLE),
    ]
    assert held(sql) == [("a", "f1"), ("a", "f9"), ("z", "f")]


def test_a_vector_that_is_refused_costs_no_row_and_no_other_vector(destination: PgvectorDestination, sql: Sql) -> None:
    both = {"model-v1": dense(1), "other": dense(1)}
    destination.apply(batch(asset("a", feature("f", both, text="old"), feature("g", both))))
    sql.execute("ALTER TABLE video__model_v1 ADD CONSTRAINT known CHECK (vector_norm(embedding) < 4) NOT VALID")
    changed = feature("f", {"model-v1": dense(9), "other": dense(2)}, text="new")
    applied = destination.apply(batch(asset("a", changed, feature("g", both), fingerprint="2")))
    assert applied.vectors[Modality.VIDEO, "model-v1"] == Counts(unchanged=2, quarantined=1)
    assert sql.execute("SELECT text FROM video WHERE feature_id = 'f'").fetchall() == [("new",)]
    first = "SELECT round(l2_distance(embedding, '[1,1,1,1,1,1,1,1]')) FROM {} WHERE feature_id = 'f'"
    assert sql.execute(first.format("video__model_v1")).fetchall() == [(0,)]
    assert sql.execute(first.format("video__other")).fetchall() == [(1,)]
    told = sql.execute("SELECT feature_id, vector_name, kept, detail FROM _sync_quarantine").fetchall()
    assert [row[:3] for row in told] == [("f", "model-v1", True)]
    assert "known" in told[0][3]
    assert list(destination.discrepancies("ads")) == []


def test_a_row_that_is_refused_leaves_the_earlier_one_with_its_vectors(indexed: PgvectorDestination, sql: Sql) -> None:
    indexed.apply(batch(asset("a", spoken("f"), spoken("g"))))
    changed = feature("f", {"model-v1": dense(9)}, transcription=LONG)
    applied = indexed.apply(batch(asset("a", changed, spoken("g"), fingerprint="2")))
    assert applied.features[Modality.VIDEO] == Counts(unchanged=2, quarantined=1)
    assert held(sql) == held(sql, "video__model_v1") == [("a", "f"), ("a", "g")]
    assert sql.execute("SELECT feature_id, vector_name, kept FROM _sync_quarantine").fetchall() == [("f", "", True)]
    assert list(indexed.discrepancies("ads")) == []


def test_an_asset_that_is_refused_itself_keeps_its_old_rows(destination: PgvectorDestination, sql: Sql) -> None:
    destination.apply(batch(asset("a", spoken("f1")), asset("b", spoken("f"))))
    sql.execute("ALTER TABLE assets ADD CONSTRAINT known_only CHECK (asset_id <> 'a') NOT VALID")
    changed = MappedAsset(**{**fields_of(asset("a", spoken("f2"), fingerprint="2")), "row_hash": b"other"})
    applied = destination.apply(batch(changed, asset("b", spoken("f"), spoken("g"), fingerprint="2")))
    assert held(sql) == [("a", "f1"), ("b", "f"), ("b", "g")]
    assert applied.assets.quarantined == 1
    ((asset_id, feature_id, _, detail),) = aside(sql)
    assert (asset_id, feature_id) == ("a", "")
    assert "known_only" in detail
    assert destination.known("ads", ["a"])["a"].fingerprint == ""


def fields_of(one: MappedAsset) -> dict[str, Any]:
    return {name: getattr(one, name) for name in MappedAsset.__dataclass_fields__}


@pytest.mark.parametrize(
    ("added", "words"),
    family(
        [
            ("ALTER TABLE video ADD CONSTRAINT civil CHECK (text <> 'rude')", "civil"),
            ("CREATE INDEX ON video ((nullif(text, 'fine')::numeric))", "invalid input syntax for type numeric"),
            (
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not in this house'; END "
                "$$; CREATE TRIGGER t BEFORE INSERT ON video FOR EACH ROW WHEN (NEW.text = 'rude') "
                "EXECUTE FUNCTION refuse()",
                "not in this house",
            ),
            (
                "CREATE TABLE words (text text PRIMARY KEY); INSERT INTO words VALUES ('fine'); ALTER TABLE video ADD "
                "FOREIGN KEY (text) REFERENCES words DEFERRABLE INITIALLY DEFERRED",
                "foreign key constraint",
            ),
        ],
        always=(2,),
    ),
)
def test_whatever_a_user_added_may_refuse(destination: PgvectorDestination, sql: Sql, added: str, words: str) -> None:
    sql.execute(added)
    destination.apply(batch(asset("a", feature("f", text="fine"), feature("g", text="rude"))))
    assert held(sql) == [("a", "f")]
    ((_, feature_id, reason, detail),) = aside(sql)
    assert (feature_id, reason) == ("g", Reason.REFUSED)
    assert words in detail


@pytest.mark.long
@pytest.mark.parametrize(("acceptable", "records"), family([(10, 15), (100, 150)]))
def test_a_table_that_refuses_nearly_everything_is_no_fault_of_the_data(
    destination: PgvectorDestination, sql: Sql, monkeypatch: pytest.MonkeyPatch, acceptable: int, records: int
) -> None:
    if records < 150:
        monkeypatch.setattr(_bisect, "_ALWAYS_ACCEPTABLE", acceptable)
    sql.execute("ALTER TABLE video ADD COLUMN reviewer text NOT NULL")
    with pytest.raises(DestinationError) as caught:
        destination.apply(batch(*(asset(f"a{number}", spoken("f")) for number in range(records))))
    told = str(caught.value)
    assert told.startswith(f"Postgres refuses more than {acceptable} of the {records} records of a batch: ")
    assert "reviewer" in told
    assert "look at the indexes, constraints and triggers" in told
    assert (held(sql), aside(sql)) == ([], [])
    assert destination.known("ads", ["a0"]) == {}


def test_what_may_pass_later_is_tried_again_as_a_whole(destination: PgvectorDestination, sql: Sql) -> None:
    sql.execute(
        "CREATE FUNCTION clash() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE 'try again' USING ERRCODE = '40001'; END $$;"
        "CREATE TRIGGER t BEFORE INSERT ON video FOR EACH ROW EXECUTE FUNCTION clash()"
    )
    with counted_savepoints() as made, pytest.raises(RetryableError, match="try again"):
        destination.apply(batch(asset("a", spoken("f")), asset("b", spoken("f"))))
    assert made == []
    assert aside(sql) == []


def test_what_may_pass_later_ends_the_search_and_nothing_is_kept(destination: PgvectorDestination, sql: Sql) -> None:
    sql.execute(
        "CREATE FUNCTION clash() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW.text = 'rude' THEN RAISE 'not here'; END IF; "
        "RAISE 'try again' USING ERRCODE = '40001'; END $$;"
        "CREATE TRIGGER t BEFORE INSERT ON video FOR EACH ROW EXECUTE FUNCTION clash()"
    )
    with counted_savepoints() as made, pytest.raises(RetryableError, match="try again"):
        destination.apply(batch(asset("a", feature("f", text="rude")), asset("b", feature("f", text="fine"))))
    assert len(made) > 1
    assert (held(sql), aside(sql)) == ([], [])
