"""A batch replaces its assets as wholes, once, and writes nothing that is already there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import psycopg.sql
import pytest

from vectorferry.connector.plugin import Counts, Modality, Reason, Rejected, RetryableError
from vectorferry.destinations import PgvectorDestination

from ...builders import asset, batch, dense, feature
from ...waiting import wait_until
from .conftest import ApplyAndCount

Sql = psycopg.Connection[Any]
VIDEO_VECTOR = (Modality.VIDEO, "model-v1")


def column(sql: Sql, query: str) -> list[Any]:
    return [row[0] for row in sql.execute(query)]


def test_assets_features_vectors_and_ledger_arrive_together(destination: PgvectorDestination, sql: Sql) -> None:
    applied = destination.apply(batch(asset("a", feature("f1", text="one"), feature("f2", text="two"))))
    assert applied.assets == Counts(inserted=1)
    assert applied.features[Modality.VIDEO] == Counts(inserted=2)
    assert applied.vectors[VIDEO_VECTOR] == Counts(inserted=2)
    assert column(sql, "SELECT text FROM video ORDER BY feature_id") == ["one", "two"]
    assert column(sql, "SELECT feature_id FROM video_model_v1 ORDER BY 1") == ["f1", "f2"]
    assert destination.known("ads", ["a"])["a"].features[Modality.VIDEO] == 2


def test_the_same_batch_again_writes_no_row(apply_and_count: ApplyAndCount) -> None:
    same = batch(asset("a", feature("f1"), feature("f2")), asset("b", feature("f3")))
    apply_and_count(same)
    applied, written = apply_and_count(same)
    assert applied.features[Modality.VIDEO] == Counts(unchanged=3)
    assert written == {}


def test_the_order_of_features_and_of_their_vectors_is_no_change(apply_and_count: ApplyAndCount, sql: Sql) -> None:
    one, two = dense(1), dense(2)
    apply_and_count(batch(asset("a", feature("f2", {"m": one, "n": two}), feature("f1", {"n": two, "m": one}))))
    named = {"video": [[[["m", 8], ["n", 8]], ["f1", "f2"]]], "image": [], "text": [], "audio": []}
    assert column(sql, "SELECT contents FROM _sync_ledger") == [named]
    same = batch(asset("a", feature("f1", {"m": one, "n": two}), feature("f2", {"n": two, "m": one})))
    assert apply_and_count(same)[1] == {}


def test_stale_features_and_vectors_of_a_replaced_asset_go(destination: PgvectorDestination, sql: Sql) -> None:
    destination.apply(batch(asset("a", feature("f1"), feature("f2")), asset("b", feature("f3"))))
    applied = destination.apply(batch(asset("a", feature("f2", {"other": dense(2)}), fingerprint="2")))
    assert applied.features[Modality.VIDEO] == Counts(unchanged=1, deleted=1)
    assert applied.vectors[VIDEO_VECTOR] == Counts(deleted=2)
    assert column(sql, "SELECT feature_id FROM video ORDER BY 1") == ["f2", "f3"]
    assert column(sql, "SELECT feature_id FROM video__model_v1") == ["f3"]
    assert column(sql, "SELECT feature_id FROM video__other") == ["f2"]


def test_a_metadata_edit_writes_no_vector(apply_and_count: ApplyAndCount, sql: Sql) -> None:
    apply_and_count(batch(asset("a", feature("f1", text="old"))))
    applied, written = apply_and_count(batch(asset("a", feature("f1", text="new"), fingerprint="2")))
    assert applied.features[Modality.VIDEO] == Counts(updated=1)
    assert written == {"video": 1, "_sync_ledger": 1}
    assert column(sql, "SELECT text FROM video") == ["new"]


def test_a_vector_change_writes_that_vector_only(apply_and_count: ApplyAndCount) -> None:
    apply_and_count(batch(asset("a", feature("f1"), feature("f2"))))
    applied, written = apply_and_count(batch(asset("a", feature("f1", {"model-v1": dense(9)}), feature("f2"))))
    assert applied.vectors[VIDEO_VECTOR] == Counts(updated=1, unchanged=1)
    assert written == {"video__model_v1": 1}


def test_the_same_ids_in_two_collections_are_two_assets(destination: PgvectorDestination, sql: Sql) -> None:
    destination.apply(batch(asset("a", feature("f1", text="here"))))
    destination.apply(batch(asset("a", feature("f1", text="there")), collection="films"))
    assert column(sql, "SELECT text FROM video ORDER BY collection") == ["here", "there"]
    assert destination.remove("ads", ["a"]).features[Modality.VIDEO] == Counts(deleted=1)
    assert column(sql, "SELECT text FROM video") == ["there"]


def test_a_run_of_one_modality_leaves_the_others_alone(destination: PgvectorDestination, sql: Sql) -> None:
    whole = asset("a", feature("v"), feature("t", modality=Modality.TEXT))
    destination.apply(batch(whole))
    only_text = asset("a", feature("t2", modality=Modality.TEXT), fingerprint="2")
    destination.apply(batch(only_text, modalities=[Modality.TEXT]))
    assert column(sql, "SELECT feature_id FROM video") == ["v"]
    assert column(sql, "SELECT feature_id FROM text") == ["t2"]
    assert destination.known("ads", ["a"])["a"].modalities == {Modality.TEXT}


def test_modalities_synced_one_after_the_other_add_up(destination: PgvectorDestination) -> None:
    for modality in (Modality.VIDEO, Modality.TEXT):
        destination.apply(batch(asset("a", feature("f", modality=modality)), modalities=[modality]))
    known = destination.known("ads", ["a"])["a"]
    assert known.features == {Modality.VIDEO: 1, Modality.TEXT: 1}


def test_a_vector_that_cannot_be_stored_is_set_aside_and_the_rest_goes_on(
    destination: PgvectorDestination, sql: Sql
) -> None:
    destination.apply(batch(asset("a", feature("f1"))))
    odd = feature("f2", {"model-v1": dense(1, dimension=16_001)})
    applied = destination.apply(batch(asset("b", odd, feature("f3"))))
    told = [(each.feature_id, each.vector_name, each.reason) for each in applied.rejected]
    assert told == [("f2", "model-v1", Reason.DIMENSION)]
    assert applied.features[Modality.VIDEO] == Counts(inserted=2)
    assert applied.vectors[Modality.VIDEO, "model-v1"] == Counts(inserted=1, quarantined=1)
    assert column(sql, "SELECT feature_id FROM video ORDER BY 1") == ["f1", "f2", "f3"]
    assert column(sql, "SELECT feature_id FROM video__model_v1 ORDER BY 1") == ["f1", "f3"]
    assert column(sql, "SELECT detail FROM _sync_quarantine") == [
        "vector model-v1: 16001 dimensions; pgvector stores at most 16000"
    ]
    assert destination.quarantined("ads") == 1


def test_reading_a_good_version_empties_the_quarantine(destination: PgvectorDestination) -> None:
    bad = Rejected("a", Reason.NOT_FINITE, "NaN at 3", "f1", "video")
    destination.apply(batch(asset("a", rejected=[bad]), rejected=[Rejected("b", Reason.UNREADABLE, "500")]))
    assert destination.quarantined("ads") == 2
    destination.apply(batch(asset("a", feature("f1"), fingerprint="2"), asset("b", feature("f2"))))
    assert destination.quarantined("ads") == 0


def test_a_record_of_an_unknown_modality_is_set_aside_once(apply_and_count: ApplyAndCount, sql: Sql) -> None:
    odd = Rejected("a", Reason.UNKNOWN_MODALITY, "hologram", "f9", "hologram")
    same = batch(asset("a", feature("f1"), rejected=[odd]))
    apply_and_count(same)
    _, written = apply_and_count(same)
    assert written == {}
    assert column(sql, "SELECT modality FROM _sync_quarantine") == ["hologram"]
    apply_and_count(batch(asset("a", feature("f1"), fingerprint="2")))
    assert column(sql, "SELECT modality FROM _sync_quarantine") == []


def test_ids_that_postgres_cannot_take_are_readable_in_quarantine(destination: PgvectorDestination, sql: Sql) -> None:
    destination.apply(batch(rejected=[Rejected("bad\0id\ud800", Reason.BAD_ID, "NUL")]))
    assert column(sql, "SELECT asset_id FROM _sync_quarantine") == ["bad\ufffdid?"]


def test_a_key_that_another_writer_inserts_meanwhile_is_worth_a_retry(
    destination: PgvectorDestination, sql: Sql, postgres_url: str
) -> None:
    ours = batch(asset("a", feature("f1")))
    destination.apply(batch(asset("z", feature("z"))))
    with ThreadPoolExecutor() as pool, psycopg.connect(postgres_url) as other:
        other.execute(
            sql_text("INSERT INTO {} VALUES ('ads', 'a', 'f1', '[1,1,1,1,1,1,1,1]', '')", sql, "video__model_v1")
        )
        applying = pool.submit(destination.apply, ours)
        wait_until(lambda: column(sql, "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
        other.commit()
        with pytest.raises(RetryableError, match="duplicate key"):
            applying.result()
    assert destination.apply(ours).vectors[VIDEO_VECTOR] == Counts(updated=1)


def sql_text(template: str, sql: Sql, table: str) -> psycopg.sql.Composed:
    schema = sql.execute("SELECT current_schema()").fetchone()
    assert schema is not None
    return psycopg.sql.SQL(template).format(psycopg.sql.Identifier(schema[0], table))


@pytest.mark.long
def test_a_batch_may_have_more_assets_than_a_statement_may_have_parameters(destination: PgvectorDestination) -> None:
    unreadable = [Rejected(f"a{number}", Reason.UNREADABLE, "500") for number in range(66_000)]
    destination.apply(batch(rejected=unreadable))
    assert destination.quarantined("ads") == len(unreadable)
