"""What a killed run has touched is not trusted until it was written again."""

from __future__ import annotations

import pytest

from vectorferry.connector.plugin import Modality
from vectorferry.destinations.pinecone._manifest import Manifest
from vectorferry.destinations.pinecone._manifest_tables import Place

from ....builders import asset, batch
from .conftest import OpenManifest
from .manifests import INDEX, LAYOUT, NAMESPACE, commit, recorded

VIDEO = Place("a", "v", INDEX)
TEXT = Place("a", "t", INDEX)
TOUCHED = {VIDEO: Modality.VIDEO, TEXT: Modality.TEXT}
FEATURES = {("a", "v"): recorded(), ("a", "t"): recorded(modality=Modality.TEXT)}


@pytest.fixture
def killed(open_manifest: OpenManifest) -> Manifest:
    """A manifest after a run that began to write an asset again and was killed."""
    manifest = open_manifest()
    commit(manifest, batch(asset("a"), asset("b")), FEATURES)
    manifest.begin("ads", TOUCHED)
    manifest.close()
    return open_manifest()


def test_an_asset_with_unconfirmed_records_is_not_known(killed: Manifest) -> None:
    assert set(killed.known("ads", ["a", "b"], LAYOUT)) == {"b"}
    assert killed.known("films", ["a"], LAYOUT) == {}


def test_unconfirmed_records_are_held_beside_what_is_certain(killed: Manifest) -> None:
    found = killed.recorded("ads", ["a"])
    assert found.unconfirmed == TOUCHED
    assert found.features == FEATURES
    assert killed.recorded("ads", ["b"]).unconfirmed == {}


def test_an_asset_that_is_only_in_the_journal_can_be_pruned(manifest: Manifest) -> None:
    manifest.begin("ads", {Place("new", "f", INDEX): Modality.VIDEO})
    assert list(manifest.asset_ids("ads")) == ["new"]
    manifest.remove("ads", ["new"], {}, NAMESPACE)
    assert list(manifest.asset_ids("ads")) == []


def test_an_acknowledged_batch_makes_them_certain(killed: Manifest) -> None:
    commit(killed, batch(asset("a")), FEATURES)
    assert killed.recorded("ads", ["a"]).unconfirmed == {}
    assert set(killed.known("ads", ["a"], LAYOUT)) == {"a"}


def test_a_batch_about_another_modality_leaves_them_uncertain(killed: Manifest) -> None:
    commit(killed, batch(asset("a"), modalities=[Modality.VIDEO]), {("a", "v"): recorded()})
    assert killed.recorded("ads", ["a"]).unconfirmed == {TEXT: Modality.TEXT}
    assert killed.known("ads", ["a"], LAYOUT) == {}


def test_a_batch_of_other_assets_leaves_them_uncertain(killed: Manifest) -> None:
    commit(killed, batch(asset("b")), {})
    commit(killed, batch(asset("a"), collection="films"), {})
    assert killed.recorded("ads", ["a"]).unconfirmed == TOUCHED


def test_beginning_again_changes_nothing_but_the_modality(killed: Manifest) -> None:
    killed.begin("ads", {VIDEO: Modality.AUDIO})
    killed.begin("ads", {})
    assert killed.recorded("ads", ["a"]).unconfirmed == {VIDEO: Modality.AUDIO, TEXT: Modality.TEXT}
