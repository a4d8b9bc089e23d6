"""What documents become: assets, features, vectors wherever they stand; and what is asked for to read them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from vectorferry import SyncOptions
from vectorferry.connector._engine.plan._plan import plan
from vectorferry.connector._model._vectors import vector_hash
from vectorferry.connector.plugin import Asset, Reason, SchemaMapping, SparseVector
from vectorferry.connector.sandbox import Fault, Garbage, MixpeekDocumentsDialect, SandboxSettings, Shorten, Status
from vectorferry.connector.sources.mixpeek_documents._api import Place, VectorIndex, read_documents
from vectorferry.connector.sources.mixpeek_documents._documents import Document, VectorsAskedFor, feature_from
from vectorferry.connector.testing import MemoryDestination, sync

from .worlds import COLLECTION, VECTOR, asset_in, generated, pulled, reading, scanned

FULL = SyncOptions(full=True)


async def test_an_object_is_an_asset_and_its_documents_are_its_features() -> None:
    async with reading(SandboxSettings(), namespace="media") as (source, sandbox):
        collection = sandbox.documents.collection_id("quickstart")
        results = await pulled(source, collection=collection)
        assert sorted(results) == sorted(sandbox.documents.asset_ids("quickstart"))
        for asset_id, asset in results.items():
            assert isinstance(asset, Asset)
            assert sorted(f.feature_id for f in asset.features) == sorted(sandbox.documents.document_ids(asset_id))
            told = sandbox.documents.document(asset.features[0].feature_id)["_internal"]
            assert (asset.modality, asset.fields["root_object_id"]) == (told["modality"], asset_id)
            assert asset.url is None if asset.modality == "text" else str(asset.url).startswith("s3://")
            starts = [feature.fields.get("start_time", 0) for feature in asset.features]
            assert starts == sorted(starts)
            assert all(feature.fields["lineage"]["root_object_id"] == asset_id for feature in asset.features)
            assert all(feature.fields["metadata"] for feature in asset.features)


@pytest.mark.parametrize(
    "row",
    [
        {"my v": [1, 2.5], "other": [[1.0], [2.0]], "_vectors": ["my v"]},
        {"vectors": {"my v": [0.1], "é": [1.0, 2.0], "unknown": [3]}},
        {"vector": [0.1, 1e39], "vector_hydration_incomplete": True},
        {"my v": [True, 1.0], "metadata": {"my v": [1.0, 2.0], "vector": [1, 2]}},
        {"my v": [], "text": '"my v":[1,2]', "metadata": {"vectors": {"my v": [1]}}},
        {"my v": {"indices": [1], "values": [2.0]}, "vector": "text"},
    ],
)
def test_vectors_that_were_cut_out_are_the_same_as_those_that_were_not(row: dict[str, Any]) -> None:
    body = json.dumps({"results": [{"document_id": "d", **row}], "pagination": {}}).encode()
    indexes = {name: VectorIndex(name, name, name, "dense", None, "cosine") for name in ("my v", "other", "é")}
    asked_for = VectorsAskedFor.of(indexes, "set_aside")

    def read(names: tuple[str, ...]) -> list[Any]:
        (given,) = read_documents(Place(1), body, names).rows
        document = Document(given, asked_for)
        feature, rejected = feature_from("a", document, asked_for)
        vectors = {name: vector_hash(vector) for name, vector in feature.vectors.items()}
        return [feature.fields, vectors, rejected, document.missing]

    assert read(tuple(indexes)) == read(())


@pytest.mark.parametrize("vectors_at", ["root", "vectors", "vector"])
@pytest.mark.parametrize("payload_at", ["root", "payload"])
async def test_vectors_and_payload_are_found_wherever_they_stand(vectors_at: str, payload_at: str) -> None:
    dialect = MixpeekDocumentsDialect.model_validate({"vectors_at": vectors_at, "payload_at": payload_at})
    async with reading(generated(documents=dialect)) as (source, sandbox):
        plain = await pulled(source)
    for asset in plain.values():
        assert isinstance(asset, Asset)
        (feature,) = asset.features
        assert feature.vectors.keys() == {VECTOR}
        assert not asset.rejected
        assert feature.fields["text"].startswith("part 0 of generated document")
        assert asset.metadata["author"]
        assert not feature.fields.keys() & {"vectors", "vector", "_vectors", "payload", "_internal", VECTOR}
    assert len(plain) == len(sandbox.documents.document_ids())


async def test_dense_and_sparse_vectors_are_read_and_those_for_each_token_are_set_aside() -> None:
    collection = "_direct_upsert"
    async with reading(SandboxSettings(), namespace="my-vectors") as (source, sandbox):
        assert list(await source.collections()) == [collection]
        results = await pulled(source, collection=collection)
        assert len(results) == len(sandbox.documents.asset_ids(collection))
        for asset in results.values():
            assert isinstance(asset, Asset)
            (feature,) = asset.features
            assert isinstance(feature.vectors["text-embedding"], np.ndarray)
            assert isinstance(feature.vectors["splade"], SparseVector)
            (record,) = asset.rejected
            assert (record.reason, record.vector_name) == (Reason.MULTI_VECTOR, "colbert")
            assert record.detail == "vector colbert: 3 vectors, one for each token; no store here takes those"


async def test_vectors_for_each_token_can_be_left_out_and_are_not_even_sent() -> None:
    async with reading(SandboxSettings(), namespace="my-vectors", multi_vectors="leave_out") as (source, _):
        await source.collections()
        results = await pulled(source, collection="_direct_upsert")
        assert all(isinstance(asset, Asset) and not asset.rejected for asset in results.values())
        sent = source.usage.bytes
    async with reading(SandboxSettings(), namespace="my-vectors") as (source, _):
        await source.collections()
        await pulled(source, collection="_direct_upsert")
        assert source.usage.bytes > sent


@pytest.mark.parametrize("first", [True, False])
async def test_a_read_of_everything_takes_whole_pages_in_partitions_side_by_side(first: bool) -> None:
    async with reading(generated(80, latency_ms=5), page_size=4, concurrency=3) as (source, sandbox):
        await source.collections()
        sandbox.requests.reset()
        assert len(await pulled(source, first=first)) == 80
        counts = sandbox.requests.counts()
        # three partitions of some 27 documents: 7 pages each with vectors, and where that was not expected without
        assert counts["documents.vectors"] <= 80 // 4 + 3
        assert counts.get("documents.list", 0) == (0 if first else counts["documents.vectors"])
        assert counts.keys() <= {"documents.list", "documents.vectors", "documents.events"}
        assert 1 < sandbox.requests.peak <= 3


async def test_a_first_sync_lists_with_vectors_and_leaves_what_a_later_one_compares_without() -> None:
    async with reading(generated(80), page_size=20) as (source, sandbox):
        first, late = MemoryDestination(), MemoryDestination("late")
        await sync(source, [first], FULL, name="m")
        assert "documents.list" not in sandbox.requests.counts()
        sandbox.requests.reset()
        summary = await sync(source, [first], FULL, name="m")
        assert (summary.collections[COLLECTION].unchanged, "documents.vectors" in sandbox.requests.counts()) == (
            80,
            False,
        )
        sandbox.requests.reset()
        await sync(source, [first, late], FULL, name="m")
        assert "documents.list" not in sandbox.requests.counts()
        assert {name: asset.fingerprint for name, asset in first.assets[COLLECTION].items()} == {
            name: asset.fingerprint for name, asset in late.assets[COLLECTION].items()
        }


async def test_a_list_with_vectors_that_leaves_rows_out_is_completed() -> None:
    async with reading(generated(80), page_size=20) as (source, sandbox):
        sandbox.faults.add(Fault(route="documents.vectors", do=Shorten(field="results"), times=1))
        store = MemoryDestination()
        summary = await sync(source, [store], FULL, name="m")
        assert (summary.exit_code, len(store.assets[COLLECTION])) == (0, 80)
        assert sandbox.requests.counts()["documents.list"] >= 4


@pytest.mark.parametrize("per_object", [0, 4])
async def test_a_list_that_cannot_bring_vectors_is_asked_for_without(per_object: int) -> None:
    async with reading(generated(80, per_object), page_size=20) as (source, sandbox):
        before = await scanned(source)
        sandbox.requests.reset()
        sandbox.faults.add(Fault(route="documents.vectors", do=Status(status=413), times=1))
        source.expect_all(COLLECTION)
        assert await scanned(source) == before
        # documents of objects are not even tried
        assert sandbox.requests.counts().get("documents.vectors", 0) == (0 if per_object else 1)


def _hashes(store: MemoryDestination) -> dict[str, Any]:
    return {
        name: (asset.fingerprint, asset.row_hash, [(f.row_hash, f.vector_hashes) for f in asset.features])
        for name, asset in store.assets[COLLECTION].items()
    }


@pytest.mark.long
async def test_a_first_sync_that_was_stopped_reads_what_is_left_as_it_comes() -> None:
    async with reading(generated(4_000), page_size=250, concurrency=1) as (source, sandbox):
        store = MemoryDestination()
        await sync(source, [store], FULL, name="m")
        assert sandbox.requests.counts()["documents.vectors"] == 16
        whole = _hashes(store)
        for name in list(await scanned(source))[1_000:]:
            store.remove(COLLECTION, [name])
        sandbox.requests.reset()
        await sync(source, [store], FULL, name="m")
        assert _hashes(store) == whole
        counts = sandbox.requests.counts()
        # four pages are unchanged; of the twelve others the first are listed without vectors, then read
        assert counts["documents.vectors"] == 12
        assert counts["documents.list"] <= 4 + 4


async def test_of_a_page_with_little_news_only_that_is_read() -> None:
    async with reading(generated(40), page_size=20) as (source, sandbox):
        before = await scanned(source)
        sandbox.documents.edit_metadata(next(iter(before)), {"author": "somebody"})
        after = await scanned(source)
        changed = [listing for name, listing in after.items() if listing != before[name]]
        bytes_before = source.usage.bytes
        results = await pulled(source, changed)
        assert asset_in(results, changed[0].asset_id).metadata["author"] == "somebody"
        assert len(results) == 1
        assert source.usage.bytes - bytes_before < 2_000


@pytest.mark.parametrize("per_object", [0, 3])
@pytest.mark.parametrize("filters", ["refused", "ignored"])
async def test_where_ids_cannot_be_filtered_by_documents_are_read_one_by_one(filters: str, per_object: int) -> None:
    dialect = MixpeekDocumentsDialect.model_validate({"filters": filters})
    async with reading(generated(12, per_object, documents=dialect), vectors_per_request=3) as (source, sandbox):
        listed = list((await scanned(source)).values())
        results = await pulled(source, listed)
        assert all(isinstance(result, Asset) and not result.rejected for result in results.values())
        features = [feature for name in results for feature in asset_in(results, name).features]
        assert sorted(feature.feature_id for feature in features) == sorted(sandbox.documents.document_ids())
        assert all(feature.vectors.keys() == {VECTOR} for feature in features)


@pytest.mark.parametrize("fault", [Garbage(), Shorten(field="results")])
async def test_what_does_not_come_together_is_read_one_by_one(fault: Garbage | Shorten) -> None:
    async with reading() as (source, sandbox):
        listed = await scanned(source)
        sandbox.faults.add(Fault(route="documents.vectors", do=fault))
        results = await pulled(source, listed.values())
        assert results.keys() == listed.keys()
        assert all(isinstance(result, Asset) for result in results.values())


async def test_where_a_list_leaves_out_what_is_selected_whole_documents_are_listed() -> None:
    dialect = MixpeekDocumentsDialect(dotted_select=False)
    async with reading(generated(documents=dialect)) as (source, sandbox):
        before = await scanned(source)
        sandbox.documents.edit_metadata(next(iter(before)), {"author": "somebody"})
        after = await scanned(source)
        assert [name for name in before if before[name] != after[name]] == [next(iter(before))]


async def test_an_object_that_is_processed_again_has_other_documents_and_is_the_same_asset() -> None:
    async with reading(generated(12, 3)) as (source, sandbox):
        before = await scanned(source)
        old = await pulled(source, before.values())
        again = next(iter(before))
        sandbox.documents.reprocess(again)
        after = await scanned(source)
        assert after.keys() == before.keys()
        assert [name for name in before if before[name] != after[name]] == [again]
        new = await pulled(source, [after[again]])
        ids = [{feature.feature_id for feature in asset_in(each, again).features} for each in (old, new)]
        assert [len(each) for each in ids] == [3, 3]
        assert not ids[0] & ids[1]


async def test_documents_that_came_meanwhile_push_none_out() -> None:
    async with reading(generated(40), page_size=10, concurrency=1) as (source, sandbox):
        listed = await scanned(source)
        for number in range(15):
            sandbox.documents.put_document("generated", f"doc_0{number:02}", vectors={VECTOR: [1, 2, 3, 4]}, text="new")
        sandbox.requests.reset()
        results = await pulled(source, listed.values())
        assert results.keys() == listed.keys()
        assert all(isinstance(result, Asset) and result.features[0].vectors for result in results.values())
        assert "documents.get" not in sandbox.requests.counts()


async def test_a_sync_replaces_the_documents_of_an_object_that_was_processed_again() -> None:
    async with reading(generated(12, 3)) as (source, sandbox):
        store = MemoryDestination()
        await sync(source, [store], name="m")
        again = next(iter(store.assets[COLLECTION]))
        before = {feature.feature_id for feature in store.assets[COLLECTION][again].features}
        sandbox.documents.reprocess(again)
        summary = await sync(source, [store], name="m")
        after = {feature.feature_id for feature in store.assets[COLLECTION][again].features}
        assert (summary.exit_code, summary.collections[COLLECTION].pulled, len(after)) == (0, 1, 3)
        assert not before & after


async def test_an_unfinished_document_keeps_its_object_waiting() -> None:
    async with reading(generated(12, 3)) as (source, sandbox):
        first, second, *_ = await scanned(source)
        (document, *_) = sandbox.documents.document_ids(first)
        sandbox.documents.put_internal(document, "metadata", {"ingestion_status": "PROCESSING"})
        for each in sandbox.documents.document_ids(second):
            sandbox.documents.put_internal(each, "metadata", {"ingestion_status": "FAILED"})
        states = {name: listing.state for name, listing in (await scanned(source)).items()}
        assert [states.pop(name) for name in (first, second)] == ["pending", "failed"]
        assert set(states.values()) == {"ready"}


async def test_a_bad_document_harms_no_other() -> None:
    async with reading(generated(12, 3)) as (source, sandbox):
        listed = await scanned(source)
        asset_id = next(iter(listed))
        nan, empty, _ = sandbox.documents.document_ids(asset_id)
        sandbox.documents.put_vector(nan, VECTOR, b"[1.0, NaN, 0, 0]", touch=False)
        sandbox.documents.put_vector(empty, VECTOR, [], touch=False)
        results = await pulled(source, listed.values())
        asset = asset_in(results, asset_id)
        assert {record.feature_id: record.reason for record in asset.rejected} == {
            nan: Reason.NOT_FINITE,
            empty: Reason.MALFORMED,
        }
        assert len(asset.features) == 3
        assert not any(asset_in(results, name).rejected for name in results if name != asset_id)


async def test_collections_of_the_system_are_read_when_they_are_named_or_hold_what_was_upserted() -> None:
    async with reading(SandboxSettings(), namespace="my-vectors", collections=("_direct_upsert",)) as (source, _):
        assert list(await source.collections()) == ["_direct_upsert"]
    async with reading(namespace="generated") as (source, _):
        assert list(await source.collections()) == [COLLECTION]


@pytest.mark.parametrize(("metric", "notes"), [("cosine", 0), ("l2", 1)])
async def test_another_metric_than_the_mapping_says_is_told(metric: str, notes: int) -> None:
    mapping = SchemaMapping.model_validate({"text": {"vectors": {VECTOR: {"metric": metric}}}})
    async with reading(generated(3)) as (source, _):
        planned = await plan(source, [MemoryDestination()], name="m", mapping=mapping)
        summary = await sync(source, [MemoryDestination()], name="m", mapping=mapping)
    told = [f"set modalities.text.vectors.{VECTOR}.metric to cosine"][:notes]
    assert [each.rpartition("; ")[2] for each in summary.advice] == told
    assert [each.rpartition("; ")[2] for each in planned.destinations["memory"].notes] == told
