"""Whoever can be checked finds exactly what was tampered with; the one in memory is the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any, Protocol

import psycopg
import pytest
from pinecone import Pinecone

from vectorferry import SyncOptions, Verification
from vectorferry.connector._model._rows import hash_row
from vectorferry.connector.plugin import (
    SLICES,
    Asset,
    AssetState,
    Capability,
    ColumnMapping,
    Destination,
    Difference,
    Discrepancy,
    Feature,
    MappedAsset,
    MappedFeature,
    Modality,
    ModalityMapping,
    SchemaMapping,
    Vector,
    different_slices,
    vector_hash,
)
from vectorferry.connector.sandbox import Sandbox, running_sandbox
from vectorferry.connector.testing import MemoryDestination, MemorySource, sync, verify
from vectorferry.destinations import PgvectorDestination, PineconeDestination

from .. import builders
from ..builders import DIMENSION, batch, dense, sparse
from ..connector.worlds import Scripted, assets
from ..connector.worlds import asset as a_listed
from ..examples import family
from ..pinecone import forget_budgets, pinecone_alone, pinecone_destination
from .conftest import Open, pinecone_is_long

MODEL = "model-v1"
OTHER = "o'ther"
"""A collection that no book names."""


class Store(Protocol):
    """A destination, and ways to damage what it stores behind its back."""

    destination: Destination

    def drop(self, asset_id: str, feature_id: str) -> Discrepancy:
        """Remove a vector; what should be found."""

    def corrupt(self, asset_id: str, feature_id: str) -> Discrepancy:
        """Change a number of a vector; what should be found."""

    def add(self, asset_id: str, feature_id: str) -> Discrepancy:
        """Add the vector of a feature that is not there to an asset; what should be found."""

    def plant(self) -> None:
        """Put asset a of the collection ads, with its feature f1, into the collection o'ther as well."""

    def shown(self) -> int:
        """How many features are stored in that collection."""


def feature(name: str, vectors: Mapping[str, Vector] | None = None, **columns: Any) -> MappedFeature:
    """A feature whose row hash is that of its row."""
    made = builders.feature(name, {MODEL: dense(float(len(name)), 2)} if vectors is None else vectors, **columns)
    return replace(made, row_hash=hash_row(made.columns, made.metadata, made.extra)[0])


def asset(name: str, *features: MappedFeature, fingerprint: str = "1") -> MappedAsset:
    """An asset whose row hash is that of its row."""
    made = builders.asset(name, *features, fingerprint=fingerprint)
    named = {key: getattr(made, key) for key in ("modality", "url", "status", "created_at", "updated_at")}
    return replace(made, row_hash=hash_row(named, made.metadata, made.extra)[0])


def vector_of(kind: Difference, asset_id: str, feature_id: str) -> Discrepancy:
    return Discrepancy(kind, asset_id, feature_id, Modality.VIDEO, MODEL)


class InMemory:
    """Tampers with dictionaries."""

    def __init__(self, destination: MemoryDestination) -> None:
        self.destination: Destination = destination
        self._assets = destination.assets

    def drop(self, asset_id: str, feature_id: str) -> Discrepancy:
        self._change(asset_id, feature_id, lambda one: replace(one, vectors={}, vector_hashes={}))
        return vector_of(Difference.MISSING, asset_id, feature_id)

    def corrupt(self, asset_id: str, feature_id: str) -> Discrepancy:
        self._change(asset_id, feature_id, lambda one: replace(one, vectors={MODEL: dense(9)}))
        return vector_of(Difference.DIFFERENT, asset_id, feature_id)

    def add(self, asset_id: str, feature_id: str) -> Discrepancy:
        held = self._assets["ads"][asset_id]
        self._assets["ads"][asset_id] = replace(held, features=(*held.features, feature(feature_id, {})))
        return Discrepancy(Difference.EXTRA, asset_id, feature_id, Modality.VIDEO)

    def plant(self) -> None:
        self._assets[OTHER] = {"a": self._assets["ads"]["a"]}

    def shown(self) -> int:
        return sum(len(each.features) for each in self._assets[OTHER].values())

    def _change(self, asset_id: str, feature_id: str, change: Callable[[MappedFeature], MappedFeature]) -> None:
        held = self._assets["ads"][asset_id]
        changed = tuple(change(one) if one.feature_id == feature_id else one for one in held.features)
        self._assets["ads"][asset_id] = replace(held, features=changed)


class InPostgres:
    """Tampers with rows."""

    def __init__(self, destination: PgvectorDestination, url: str, schema: str) -> None:
        self.destination: Destination = destination
        self._schema = schema
        self._table = f"{schema}.video__model_v1"
        self._url = url

    def drop(self, asset_id: str, feature_id: str) -> Discrepancy:
        self._execute(f"DELETE FROM {self._table} WHERE asset_id = %s AND feature_id = %s", asset_id, feature_id)
        return vector_of(Difference.MISSING, asset_id, feature_id)

    def corrupt(self, asset_id: str, feature_id: str) -> Discrepancy:
        self._execute(
            f"UPDATE {self._table} SET embedding = embedding + embedding WHERE asset_id = %s AND feature_id = %s",
            asset_id,
            feature_id,
        )
        return vector_of(Difference.DIFFERENT, asset_id, feature_id)

    def add(self, asset_id: str, feature_id: str) -> Discrepancy:
        self._execute(
            f"INSERT INTO {self._table} SELECT collection, asset_id, %s, embedding, vector_hash FROM {self._table} "
            "WHERE asset_id = %s LIMIT 1",
            feature_id,
            asset_id,
        )
        return vector_of(Difference.EXTRA, asset_id, feature_id)

    def plant(self) -> None:
        asset_columns = "asset_id, modality, metadata, extra, row_hash"
        self._copy("assets", asset_columns, "asset_id = 'a'")
        self._copy("video", "asset_id, feature_id, text, metadata, extra, row_hash", "feature_id = 'f1'")
        self._copy("video__model_v1", "asset_id, feature_id, embedding, vector_hash", "feature_id = 'f1'")

    def shown(self) -> int:
        with psycopg.connect(self._url) as connection:
            counted = f"SELECT count(*) FROM {self._schema}.video_model_v1 WHERE collection = %s"
            return int(connection.execute(counted.encode(), [OTHER]).fetchall()[0][0])

    def _copy(self, table: str, columns: str, which: str) -> None:
        name = f"{self._schema}.{table}"
        self._execute(
            f"INSERT INTO {name} (collection, {columns}) SELECT %s, {columns} FROM {name} "
            f"WHERE collection = 'ads' AND asset_id = 'a' AND {which}",
            OTHER,
        )

    def _execute(self, statement: str, *values: str) -> None:
        with psycopg.connect(self._url) as connection:
            assert connection.execute(statement.encode(), values).rowcount == 1


class InPinecone:
    """Tampers with records, through the SDK."""

    def __init__(self, destination: PineconeDestination, sandbox: Sandbox) -> None:
        self.destination: Destination = destination
        self._sandbox = sandbox

    def drop(self, asset_id: str, feature_id: str) -> Discrepancy:
        with self._index() as index:
            index.delete(ids=[f"{asset_id}#{feature_id}"], namespace="ads")
        return vector_of(Difference.MISSING, asset_id, feature_id)

    def corrupt(self, asset_id: str, feature_id: str) -> Discrepancy:
        with self._index() as index:
            index.update(id=f"{asset_id}#{feature_id}", values=[9.0] * 8, namespace="ads")
        return replace(vector_of(Difference.DIFFERENT, asset_id, feature_id), detail="the vector is another one")

    def add(self, asset_id: str, feature_id: str) -> Discrepancy:
        metadata = {"collection": "ads", "asset_id": asset_id, "feature_id": feature_id, "modality": "video"}
        record = {"id": f"{asset_id}#{feature_id}", "values": [9.0] * 8, "metadata": metadata}
        with self._index() as index:
            index.upsert(vectors=[record, {**record, "id": "somebody-else's"}], namespace="ads")
        return vector_of(Difference.EXTRA, asset_id, feature_id)

    def plant(self) -> None:
        metadata = {"collection": OTHER, "asset_id": "a", "feature_id": "f1", "modality": "video"}
        with self._index() as index:
            index.upsert(vectors=[{"id": "a#f1", "values": [9.0] * 8, "metadata": metadata}], namespace=OTHER)
            index.upsert(vectors=[{"id": "somebody-else's", "values": [9.0] * 8}], namespace="theirs")

    def shown(self) -> int:
        (name,) = self._sandbox.pinecone.indexes()
        return self._sandbox.pinecone.namespaces(name)[OTHER]

    @contextmanager
    def _index(self) -> Iterator[Any]:
        with Pinecone(api_key=self._sandbox.api_key, host=self._sandbox.url) as pinecone:
            (name,) = self._sandbox.pinecone.indexes()
            with pinecone.Index(name) as index:
                yield index


@pytest.fixture(params=["memory", "pgvector", "pinecone"])
def store(request: pytest.FixtureRequest, schema: str) -> Iterator[Store]:
    """One of each kind, empty and prepared."""
    if request.param == "memory":
        yield InMemory(MemoryDestination())
        return
    url = request.getfixturevalue("postgres_url")
    if request.param == "pgvector":
        with closing(PgvectorDestination(schema, url)) as destination:
            destination.prepare(SchemaMapping())
            yield InPostgres(destination, url, schema)
    else:
        forget_budgets()
        with running_sandbox(pinecone_alone()) as sandbox, closing(pinecone_destination(sandbox, url, schema)) as there:
            there.prepare(SchemaMapping())
            yield InPinecone(there, sandbox)


FILLED = batch(
    asset("a", feature("f1"), feature("f2")),
    asset("b", feature("f1"), feature("f3")),
    asset("c"),
)


def found(store: Store, sample: int | None = None) -> Sequence[Discrepancy]:
    return sorted(store.destination.discrepancies("ads", sample), key=str)


def test_it_is_one(store: Store) -> None:
    assert Capability.VERIFY in store.destination.capabilities


def test_what_was_applied_is_in_step(store: Store) -> None:
    assert found(store) == []
    store.destination.apply(FILLED)
    store.destination.apply(batch(asset("a", feature("f2", {})), collection="films"))
    store.destination.apply(batch(asset("a", feature("f1", text="new")), modalities=[Modality.VIDEO]))
    store.destination.apply(batch(asset("b", fingerprint="2"), modalities=[Modality.IMAGE]))
    assert found(store) == []
    assert list(store.destination.discrepancies("films")) == []


def test_it_names_what_is_missing_different_and_extra_and_nothing_else(store: Store) -> None:
    store.destination.apply(FILLED)
    wanted = [store.drop("a", "f1"), store.corrupt("b", "f1"), store.add("b", "f9")]
    assert found(store) == sorted(wanted, key=str)


def test_what_is_there_is_compared_for_all_assets_whatever_the_sample(store: Store) -> None:
    store.destination.apply(FILLED)
    wanted = [store.drop("a", "f1"), store.add("b", "f9")]
    assert found(store, sample=0) == sorted(wanted, key=str)


def test_distrust_has_the_assets_read_again_and_the_next_apply_mends_them(store: Store) -> None:
    store.destination.apply(FILLED)
    store.drop("a", "f1")
    store.corrupt("b", "f1")
    store.destination.distrust("ads", found(store))
    assert set(store.destination.known("ads", ["a", "b", "c"])) == {"c"}
    store.destination.apply(FILLED)
    assert found(store) == []
    assert set(store.destination.known("ads", ["a", "b", "c"])) == {"a", "b", "c"}


def test_a_distrusted_asset_can_be_removed(store: Store) -> None:
    store.destination.apply(FILLED)
    store.corrupt("b", "f1")
    store.destination.distrust("ads", found(store))
    assert sorted(store.destination.asset_ids("ads")) == ["a", "b", "c"]
    store.destination.remove("ads", ["b"])
    assert found(store) == []
    assert sorted(store.destination.asset_ids("ads")) == ["a", "c"]


def test_digests_are_those_of_the_source_in_order(store: Store) -> None:
    words = feature("f1", {"words": sparse({3: 1.5}), MODEL: dense(1)})
    store.destination.apply(batch(asset("b", feature("f2")), asset("a", words)))
    told = [(one.asset_id, one.feature_id, one.modality, one.vector_name, one.digest) for one in digests(store)]
    assert told == [
        ("a", "", "", "", asset("a").row_hash),
        ("a", "f1", "video", "", words.row_hash),
        ("a", "f1", "video", MODEL, vector_hash(dense(1))),
        ("a", "f1", "video", "words", words.vector_hashes["words"]),
        ("b", "", "", "", asset("b").row_hash),
        ("b", "f2", "video", "", feature("f2").row_hash),
        ("b", "f2", "video", MODEL, vector_hash(dense(2.0, 2))),
    ]
    only = [(one.asset_id, one.feature_id) for one in store.destination.digests("ads", ["b", "c"])]
    assert only == [("b", ""), ("b", "f2"), ("b", "f2")]


def test_sums_differ_in_the_slice_of_what_has_changed(store: Store) -> None:
    destination = store.destination
    assert destination.digest_sums("ads", SLICES) == {}
    destination.apply(FILLED)
    whole, before = destination.digest_sums("ads", 1), destination.digest_sums("ads", SLICES)
    assert whole is not None
    assert before is not None
    assert {kind: sums[0].records for kind, sums in whole.items()} == {
        ("", ""): 3,
        ("video", ""): 4,
        ("video", MODEL): 4,
    }
    assert {kind: sum(each.records for each in sums.values()) for kind, sums in before.items()} == {
        kind: sums[0].records for kind, sums in whole.items()
    }
    assert set(destination.slice_assets("ads", set(range(SLICES)))) == {"a", "b", "c"}
    destination.apply(batch(asset("a", feature("f1"), feature("f2", text="other"), fingerprint="2")))
    after = destination.digest_sums("ads", SLICES)
    assert after is not None
    different = different_slices(before, after)
    assert (len(different), set(destination.slice_assets("ads", different))) == (1, {"a"})


def digests(store: Store) -> Iterable[Any]:
    return store.destination.digests("ads")


def test_contents_are_named_and_counted_also_of_assets_that_are_to_be_read_again(store: Store) -> None:
    destination = store.destination
    assert Capability.CONTENTS in destination.capabilities
    assert (dict(destination.contents("ads", ["a"])), dict(destination.content_counts("ads"))) == ({}, {})
    both = feature("f1", {"words": sparse({3: 1.5}), MODEL: dense(1)})
    image = feature("i1", {}, modality=Modality.IMAGE)
    destination.apply(batch(asset("a", both, feature("f2"), image), asset("b", feature("f3")), asset("c")))
    destination.distrust("ads", [Discrepancy(Difference.MISSING, "a")])
    assert "a" not in destination.known("ads", ["a"]) or not destination.known("ads", ["a"])["a"].fingerprint
    named = destination.contents("ads", ["a", "c", "nowhere"])
    assert named["a"][Modality.VIDEO] == {"f1": {"words": None, MODEL: DIMENSION}, "f2": {MODEL: DIMENSION}}
    assert named["a"][Modality.IMAGE] == {"i1": {}}
    assert not any(named.get("c", {}).values())
    assert "nowhere" not in named
    counts = {kind: rows for kind, rows in destination.content_counts("ads").items() if rows}
    video, pictures = Modality.VIDEO, Modality.IMAGE
    assert counts == {(video, None): 3, (video, MODEL): 3, (video, "words"): 1, (pictures, None): 1}
    destination.remove("ads", ["a"])
    assert "a" not in destination.contents("ads", ["a"])


HEARD = SchemaMapping(video=ModalityMapping(columns={"heard": ColumnMapping(path="text")}))
REMAPPED = "the mapping has changed since the last sync, so that one is due"


def told(found: Verification) -> dict[str, tuple[int, bool]]:
    """Of each collection, how many differences there are, and whether a sync is said to be due."""
    return {
        name: (report.counts.total(), any(REMAPPED in note for note in report.notes))
        for name, report in found.collections.items()
    }


@pinecone_is_long
async def test_rows_of_another_mapping_are_no_differences_a_sync_is_due(opened: Open) -> None:
    """Every row had been called different from the ledger, and every asset changed at the source."""
    source = MemorySource({"ads": assets(3), "films": assets(2)})
    await sync(source, [opened()], name="m")
    source.assets["ads"]["a0001"] = a_listed("a0001", version=2)
    found = await verify(source, [opened()], name="m", mapping=HEARD, source_sample=5)
    assert told(found) == {"ads": (1, True), "films": (0, True)}
    assert [each.record.asset_id for each in found.collections["ads"].findings] == ["a0001"]
    await sync(source, [opened()], SyncOptions(collections=["ads"]), name="m", mapping=HEARD)
    found = await verify(source, [opened()], name="m", mapping=HEARD, source_sample=5)
    assert told(found) == {"ads": (0, False), "films": (0, True)}
    await sync(source, [opened()], name="m", mapping=HEARD)
    found = await verify(source, [opened()], name="m", mapping=HEARD, source_sample=5)
    assert told(found) == {"ads": (0, False), "films": (0, False)}


@pinecone_is_long
async def test_rows_that_the_source_does_not_give_again_are_what_they_were_written_as(opened: Open) -> None:
    """They had been called different for good, for they lacked the new columns, and no repair could read them."""
    source = Scripted({"ads": assets(3)})
    await sync(source, [opened()], name="m")
    source.states = {"a0001": AssetState.FAILED}
    await sync(source, [opened()], name="m", mapping=HEARD)
    assert told(await verify(source, [opened()], name="m", mapping=HEARD)) == {"ads": (0, False)}


async def test_what_searches_find_of_a_collection_that_no_book_names_is_told_and_left(store: Store) -> None:
    source = MemorySource({"ads": [source_asset("a", "f1"), source_asset("b", "f1")]})
    await sync(source, [store.destination], name="m")
    assert store.destination.unrecorded_collections() == {}
    store.plant()
    found = await verify(source, [store.destination], name="m", repair=True)
    assert (found.exit_code, found.repair) == (1, None)
    report = found.collections[OTHER]
    assert (report.unrecorded, report.gone, found.collections["ads"].in_step) == (True, False, True)
    assert {(each.record.kind, each.against) for each in report.findings} == {(Difference.EXTRA, "ledger")}
    (removal,) = store.destination.unrecorded_collections().values()
    assert report.notes[0].endswith(f"Where it is not to stay: {' '.join(removal)}")
    assert OTHER not in store.destination.stored_collections()
    summary = await sync(source, [store.destination], name="m")
    assert (summary.exit_code, [*summary.collections], store.shown()) == (0, ["ads"], 1)


def source_asset(name: str, feature_id: str) -> Asset:
    return Asset(name, "1", "video", features=(Feature(feature_id, "video", {"text": "x"}, {MODEL: dense(1.0, 2)}),))


@pytest.mark.parametrize("is_hidden", family([True, False]))
def test_the_statements_delete_what_is_shown_of_it_and_nothing_else(
    postgres_url: str, schema: str, is_hidden: bool
) -> None:
    """What is hidden is no finding, and stays for the asset's return."""
    with closing(PgvectorDestination(schema, postgres_url)) as destination:
        destination.prepare(SchemaMapping())
        store = InPostgres(destination, postgres_url, schema)
        destination.apply(FILLED)
        if is_hidden:
            destination.apply(batch(asset("z", feature("f1")), collection=OTHER))
            destination.tombstone(OTHER, ["z"])
            assert destination.unrecorded_collections() == {}
        store.plant()
        (statements,) = destination.unrecorded_collections().values()
        assert [each.split()[2] for each in statements] == [
            f'"{schema}"."{table}"' for table in ("video__model_v1", "video", "assets")
        ]
        with psycopg.connect(postgres_url) as connection:
            assert [connection.execute(each.encode()).rowcount for each in statements] == [1, 1, 1]
        assert (destination.unrecorded_collections(), store.shown(), found(store)) == ({}, 0, [])
        if is_hidden:
            again = destination.apply(batch(asset("z", feature("f1")), collection=OTHER))
            assert again.vectors[Modality.VIDEO, MODEL].unchanged == 1
