"""What was acknowledged is recorded, asset by asset, and nothing else changes."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from vectorferry.connector.plugin import DestinationError, Known, Modality, Reason, Rejected
from vectorferry.destinations.pinecone._manifest import Manifest

from ....builders import asset, batch, feature
from ....waiting import wait_until
from .conftest import OpenManifest
from .manifests import INDEX, LAYOUT, NAMESPACE, commit, recorded

WRITERS = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'vectorferry'"


def test_a_batch_is_recorded_as_it_was_written(manifest: Manifest) -> None:
    one = asset("a", feature("f"), fingerprint="7")
    commit(manifest, batch(one), {("a", "f"): recorded()})

    found = manifest.recorded("ads", ["a", "unknown"])
    assert found.features == {("a", "f"): recorded()}
    assert found.assets == {"a": one.row_hash}
    assert found.unconfirmed == {}
    known = manifest.known("ads", ["a", "unknown"], LAYOUT)
    assert set(known) == {"a"}
    assert known["a"].fingerprint == "7"
    assert known["a"].features == {
        Modality.VIDEO: 1,
        Modality.IMAGE: 0,
        Modality.TEXT: 0,
        Modality.AUDIO: 0,
    }


def test_collections_do_not_see_each_other(manifest: Manifest) -> None:
    commit(manifest, batch(asset("a"), collection="ads"), {("a", "f"): recorded("1")})
    commit(manifest, batch(asset("a"), collection="films"), {("a", "f"): recorded("2")})
    assert manifest.recorded("ads", ["a"]).features == {("a", "f"): recorded("1")}
    assert manifest.recorded("films", ["a"]).features == {("a", "f"): recorded("2")}
    assert manifest.find("f", Modality.VIDEO) == [("ads", "a"), ("films", "a")]
    assert manifest.find("f", Modality.AUDIO) == []


def test_manifests_of_several_destinations_share_a_schema(open_manifest: OpenManifest) -> None:
    one, other = open_manifest("pine"), open_manifest("pine-2")
    commit(one, batch(asset("a")), {("a", "f"): recorded()})
    assert other.recorded("ads", ["a"]).features == {}
    assert list(other.asset_ids("ads")) == []


def test_what_changed_is_updated_and_what_is_gone_is_removed(manifest: Manifest) -> None:
    commit(
        manifest, batch(asset("a")), {("a", "1"): recorded("1"), ("a", "2"): recorded("1"), ("a", "3"): recorded("1")}
    )
    changed = {("a", "2"): recorded("2"), ("a", "3"): recorded("1"), ("a", "4"): recorded("1", indexes=())}
    commit(manifest, batch(asset("a", fingerprint="2")), changed)
    assert manifest.recorded("ads", ["a"]).features == changed
    assert manifest.known("ads", ["a"], LAYOUT)["a"].fingerprint == "2"


def test_only_a_batchs_modalities_lose_features(manifest: Manifest) -> None:
    commit(manifest, batch(asset("a")), {("a", "v"): recorded(), ("a", "t"): recorded(modality=Modality.TEXT)})
    commit(manifest, batch(asset("a"), modalities=[Modality.VIDEO]), {})
    assert set(manifest.recorded("ads", ["a"]).features) == {("a", "t")}


def test_a_feature_may_change_its_modality(manifest: Manifest) -> None:
    commit(manifest, batch(asset("a")), {("a", "f"): recorded()})
    now = {("a", "f"): recorded(modality=Modality.AUDIO)}
    commit(manifest, batch(asset("a"), modalities=[Modality.AUDIO]), now)
    assert manifest.recorded("ads", ["a"]).features == now


@pytest.mark.parametrize(
    ("fingerprint", "layout", "stays"), [("1", LAYOUT, True), ("2", LAYOUT, False), ("1", "layout-2", False)]
)
def test_modalities_synced_earlier_stay_known_while_nothing_changed(
    manifest: Manifest, fingerprint: str, layout: str, stays: bool
) -> None:
    commit(manifest, batch(asset("a"), modalities=[Modality.TEXT]), {("a", "t"): recorded(modality=Modality.TEXT)})
    later = batch(asset("a", fingerprint=fingerprint), modalities=[Modality.VIDEO])
    commit(manifest, later, {("a", "v"): recorded()}, layout=layout)
    known = manifest.known("ads", ["a"], layout)["a"]
    assert known.features == ({Modality.TEXT: 1} if stays else {}) | {Modality.VIDEO: 1}


def test_assets_written_under_another_layout_are_not_known(manifest: Manifest) -> None:
    commit(manifest, batch(asset("a")), {("a", "f"): recorded()})
    assert manifest.known("ads", ["a"], "layout-2") == {}
    assert list(manifest.asset_ids("ads")) == ["a"]


def test_the_same_batch_again_writes_nothing(open_manifest: OpenManifest, sql: psycopg.Connection[Any]) -> None:
    bad = Rejected("a", Reason.ZERO_VECTOR, "all zero", "bad", "video")
    same = batch(asset("a", rejected=[bad]), asset("b"))

    def rows_written() -> int:
        manifest = open_manifest()
        manifest.keep_settings({"index_prefix": "media"})
        commit(manifest, same, {("a", "f"): recorded(), ("b", "f"): recorded()}, written={INDEX: 7})
        manifest.close()  # Postgres' own statistics are complete once the connection has ended
        wait_until(lambda: not sql.execute(WRITERS).fetchall())
        counted = sql.execute(
            "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables WHERE schemaname = current_schema()"
        ).fetchone()
        assert counted is not None
        return int(counted[0])

    first = rows_written()
    assert first == 7  # two assets, two features, a setting, a namespace, a record in quarantine
    assert rows_written() == first


def test_everything_set_aside_is_in_quarantine(manifest: Manifest) -> None:
    by_source = Rejected("a", Reason.MALFORMED, "no id", "1", "video")
    by_store = Rejected("a", Reason.REFUSED, "too sparse", "2", "video")
    whole = Rejected("b", Reason.UNREADABLE, "no answer")
    aside = batch(asset("a", rejected=[by_source]), rejected=[whole])
    commit(manifest, aside, {}, rejected=[by_source, by_store, whole])
    assert manifest.quarantined("ads") == 3
    assert sorted(manifest.asset_ids("ads")) == ["a", "b"]
    commit(manifest, batch(asset("a")), {})
    assert manifest.quarantined("ads") == 1
    assert manifest.known("ads", ["b"], LAYOUT) == {}


def test_a_batch_is_recorded_whole_or_not_at_all(manifest: Manifest, sql: psycopg.Connection[Any]) -> None:
    commit(manifest, batch(asset("a")), {("a", "f"): recorded("1")})
    sql.execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no room'; END$$")
    sql.execute("CREATE TRIGGER refuse BEFORE INSERT ON _sync_pinecone_namespaces EXECUTE FUNCTION refuse()")
    with pytest.raises(DestinationError, match="no room"):
        commit(manifest, batch(asset("a", fingerprint="2")), {("a", "f"): recorded("2")}, written={"another": 1})
    assert manifest.recorded("ads", ["a"]).features == {("a", "f"): recorded("1")}
    assert manifest.known("ads", ["a"], LAYOUT)["a"].fingerprint == "1"


def test_what_is_removed_is_forgotten_everywhere(manifest: Manifest) -> None:
    bad = Rejected("a", Reason.ZERO_VECTOR, "all zero", "bad", "video")
    commit(manifest, batch(asset("a", rejected=[bad]), asset("b")), {("a", "f"): recorded(), ("b", "f"): recorded()})
    manifest.remove("ads", ["a"], {INDEX: 9}, NAMESPACE)
    assert list(manifest.asset_ids("ads")) == ["b"]
    assert manifest.quarantined("ads") == 0
    assert manifest.recorded("ads", ["a", "b"]).features == {("b", "f"): recorded()}
    assert [row.lsn for row in manifest.namespaces()] == [9]


def test_counts_say_what_is_where(manifest: Manifest) -> None:
    commit(
        manifest,
        batch(asset("a"), asset("b")),
        {("a", "1"): recorded(), ("b", "1"): recorded(indexes=(INDEX, "other"))},
    )
    commit(manifest, batch(asset("a"), collection="films"), {("a", "1"): recorded(indexes=())})
    counts = manifest.counts()
    assert counts.records == {INDEX: {"ads": 2}, "other": {"ads": 1}}
    assert counts.assets == {"ads": 2, "films": 1}
    assert counts.quarantined == 0
    assert counts.last_change is not None


def test_ids_are_kept_as_they_are(manifest: Manifest) -> None:
    odd = "ä/'\"\\ \n#%\U0001f600"
    commit(manifest, batch(asset(odd)), {(odd, odd): recorded(indexes=(odd,))})
    assert manifest.recorded("ads", [odd]).features == {(odd, odd): recorded(indexes=(odd,))}
    assert isinstance(manifest.known("ads", [odd], LAYOUT)[odd], Known)
    assert list(manifest.asset_ids("ads")) == [odd]
