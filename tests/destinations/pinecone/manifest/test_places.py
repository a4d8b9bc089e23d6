"""Indexes, namespaces and settings; and a manifest that was lost, made anew from what the store holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vectorferry.connector.plugin import ConfigurationError, Modality
from vectorferry.destinations.pinecone._manifest import Manifest
from vectorferry.destinations.pinecone._manifest_tables import IndexRow, NamespaceRow, Place

from ....builders import asset, batch
from .manifests import INDEX, LAYOUT, NAMESPACE, commit, recorded

ROW = IndexRow(INDEX, "model-v1", 8, "cosine", "https://one.pinecone.io")
OTHER = IndexRow("media-words-sparse", "words", None, "dotproduct", "https://two.pinecone.io")


def test_indexes_are_kept_and_corrected(manifest: Manifest) -> None:
    manifest.put_index(ROW)
    manifest.put_index(OTHER)
    moved = replace(ROW, host="https://three.pinecone.io")
    manifest.put_index(moved)
    manifest.put_index(moved)
    assert manifest.indexes() == {INDEX: moved, OTHER.name: OTHER}


def test_a_namespaces_number_never_goes_back(manifest: Manifest) -> None:
    for lsn in (5, 3, 8, 7):
        commit(manifest, batch(asset("a")), {("a", "f"): recorded()}, written={INDEX: lsn})
    assert manifest.namespaces() == [NamespaceRow(INDEX, "ads", NAMESPACE, 8)]


def test_a_namespace_with_records_is_there_though_nothing_was_written(manifest: Manifest) -> None:
    commit(manifest, batch(asset("a")), {("a", "f"): recorded()})
    assert manifest.namespaces() == [NamespaceRow(INDEX, "ads", NAMESPACE, 0)]


def test_a_forgotten_index_takes_its_records_along_and_its_assets_are_read_again(manifest: Manifest) -> None:
    manifest.put_index(ROW)
    manifest.put_index(OTHER)
    both = recorded(indexes=(INDEX, OTHER.name))
    written = {("a", "f"): both, ("b", "f"): recorded(indexes=(OTHER.name,))}
    commit(manifest, batch(asset("a"), asset("b")), written, written={INDEX: 4, OTHER.name: 5})
    manifest.begin("ads", {Place("b", "f", INDEX): Modality.VIDEO})
    manifest.forget_index(INDEX)
    assert manifest.indexes() == {OTHER.name: OTHER}
    assert manifest.namespaces() == [NamespaceRow(OTHER.name, "ads", NAMESPACE, 5)]
    found = manifest.recorded("ads", ["a", "b"])
    assert {key: set(one.records) for key, one in found.features.items()} == {key: {OTHER.name} for key in written}
    assert found.unconfirmed == {}
    assert set(manifest.known("ads", ["a", "b"], LAYOUT)) == {"b"}


def test_settings_stay_what_they_were(manifest: Manifest) -> None:
    manifest.keep_settings({"index_prefix": "media"})
    manifest.keep_settings({"index_prefix": "media", "namespace": "{collection}"})
    with pytest.raises(ConfigurationError) as caught:
        manifest.keep_settings({"index_prefix": "media", "namespace": "x-{collection}"})
    assert "namespace: " in str(caught.value)
    assert "Set it back to '{collection}'" in str(caught.value)
    assert "another `schema`" in str(caught.value)


def test_records_that_were_found_are_held_and_their_assets_are_read_again(manifest: Manifest) -> None:
    found = recorded().without_row_hash()
    commit(manifest, batch(asset("a"), asset("b")), {})
    for _ in range(2):  # a rebuild that was stopped begins anew
        manifest.adopt("ads", INDEX, {("a", "f"): found, ("z", "f"): found})
    assert manifest.recorded("ads", ["a", "z"]).features == {("a", "f"): found, ("z", "f"): found}
    assert set(manifest.known("ads", ["a", "b", "z"], LAYOUT)) == {"b"}
    assert sorted(manifest.asset_ids("ads")) == ["a", "b", "z"]
    assert manifest.find("f", Modality.VIDEO) == [("ads", "a"), ("ads", "z")]


@pytest.mark.parametrize("odd", ["nul \0", "half \ud800"])
def test_a_record_whose_ids_cannot_be_ours_is_passed_over(manifest: Manifest, odd: str) -> None:
    manifest.adopt("ads", INDEX, {(odd, "f"): recorded(), ("a", odd): recorded(), ("a", "f"): recorded()})
    manifest.adopt(odd, INDEX, {("a", "f"): recorded()})
    assert list(manifest.asset_ids("ads")) == ["a"]
    assert set(manifest.recorded("ads", ["a"]).features) == {("a", "f")}


def test_a_feature_that_was_found_in_two_indexes_has_both_records(manifest: Manifest) -> None:
    manifest.adopt("ads", INDEX, {("a", "f"): recorded().without_row_hash()})
    manifest.adopt("ads", OTHER.name, {("a", "f"): recorded("2", indexes=(OTHER.name,)).without_row_hash()})
    one = manifest.recorded("ads", ["a"]).features["a", "f"]
    assert one == replace(recorded(), row_hash=None, records={INDEX: b"1", OTHER.name: b"2"})


def test_records_of_one_feature_that_differ_have_unknown_metadata(manifest: Manifest) -> None:
    manifest.adopt("ads", INDEX, {("a", "f"): recorded()})
    for _ in range(2):
        manifest.adopt("ads", OTHER.name, {("a", "f"): recorded(indexes=(OTHER.name,), metadata="older")})
    one = manifest.recorded("ads", ["a"]).features["a", "f"]
    assert (one.metadata_hash, one.keys_hash) == (b"", b"")
    assert set(one.records) == {INDEX, OTHER.name}
