"""After any series of runs, killed or not, the manifest says what a simple model says."""

from __future__ import annotations

import uuid

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vectorferry.connector.plugin import MODALITIES, Modality
from vectorferry.destinations.pinecone._manifest import Manifest
from vectorferry.destinations.pinecone._manifest_tables import Place, RecordedFeature

from ....builders import asset, batch
from ....examples import examples
from .manifests import LAYOUT, NAMESPACE, commit

ASSETS = ("a", "b", "c")
features = st.builds(
    RecordedFeature,
    st.sampled_from(MODALITIES[:2]),
    st.one_of(st.none(), st.binary(max_size=1)),
    st.binary(max_size=1),
    st.binary(max_size=1),
    st.dictionaries(st.sampled_from(["x", "y"]), st.binary(max_size=1)),
)
contents = st.dictionaries(st.tuples(st.sampled_from(ASSETS), st.sampled_from("123")), features, max_size=5)
places = st.dictionaries(
    st.builds(Place, st.sampled_from(ASSETS), st.sampled_from("123"), st.sampled_from(["x", "y"])),
    st.sampled_from(MODALITIES[:2]),
    max_size=3,
)
modalities = st.frozensets(st.sampled_from(MODALITIES[:2]), min_size=1)
some_assets = st.frozensets(st.sampled_from(ASSETS), min_size=1)
commits = st.tuples(st.just("commit"), some_assets, modalities, contents, st.sampled_from("12"))
removals = st.tuples(st.just("remove"), some_assets)
beginnings = st.tuples(st.just("begin"), places)
histories = st.lists(st.one_of(commits, removals, beginnings), max_size=8)


class Model:
    """The manifest's promise in a few dictionaries."""

    def __init__(self) -> None:
        self.features: dict[tuple[str, str], RecordedFeature] = {}
        self.unconfirmed: dict[Place, Modality] = {}
        self.known: dict[str, tuple[str, dict[Modality, int]]] = {}

    def commit(
        self,
        asset_ids: frozenset[str],
        touched: frozenset[Modality],
        desired: dict[tuple[str, str], RecordedFeature],
        fingerprint: str,
    ) -> None:
        gone = {key for key, one in self.features.items() if key[0] in asset_ids and one.modality in touched}
        self.features = {key: one for key, one in self.features.items() if key not in gone} | desired
        for place, modality in list(self.unconfirmed.items()):
            if place.asset_id in asset_ids and modality in touched:
                del self.unconfirmed[place]
        for asset_id in asset_ids:
            before = self.known.get(asset_id)
            counts = dict(before[1]) if before and before[0] == fingerprint else {}
            for modality in touched:
                counts[modality] = sum(k[0] == asset_id and f.modality == modality for k, f in desired.items())
            self.known[asset_id] = (fingerprint, counts)

    def remove(self, asset_ids: frozenset[str]) -> None:
        self.features = {key: one for key, one in self.features.items() if key[0] not in asset_ids}
        self.unconfirmed = {place: m for place, m in self.unconfirmed.items() if place.asset_id not in asset_ids}
        self.known = {asset_id: known for asset_id, known in self.known.items() if asset_id not in asset_ids}


def play(manifest: Manifest, model: Model, collection: str, step: tuple[object, ...]) -> None:
    """One step, in the manifest and in the model."""
    match step:
        case ("begin", dict(touched)):
            manifest.begin(collection, touched)
            model.unconfirmed |= touched
        case ("remove", frozenset(asset_ids)):
            manifest.remove(collection, sorted(asset_ids), {}, NAMESPACE)
            model.remove(asset_ids)
        case ("commit", frozenset(asset_ids), frozenset(touched), dict(desired), str(fingerprint)):
            desired = {k: f for k, f in desired.items() if k[0] in asset_ids and f.modality in touched}
            assets = [asset(asset_id, fingerprint=fingerprint) for asset_id in asset_ids]
            written = batch(*assets, collection=collection, modalities=sorted(touched))
            commit(manifest, written, desired)
            model.commit(asset_ids, touched, desired, fingerprint)


@settings(max_examples=examples(10, 500), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories)
def test_any_history(manifest: Manifest, history: list[tuple[object, ...]]) -> None:
    collection, model = uuid.uuid4().hex, Model()
    for step in history:
        play(manifest, model, collection, step)
    recorded = manifest.recorded(collection, ASSETS)
    assert recorded.features == model.features
    assert recorded.unconfirmed == model.unconfirmed
    known = manifest.known(collection, ASSETS, LAYOUT)
    touched = {place.asset_id for place in model.unconfirmed}
    assert {asset_id: (one.fingerprint, one.features) for asset_id, one in known.items()} == {
        asset_id: one for asset_id, one in model.known.items() if asset_id not in touched
    }
    there = {key[0] for key in model.features} | touched | set(model.known)
    assert sorted(manifest.asset_ids(collection)) == sorted(there)
