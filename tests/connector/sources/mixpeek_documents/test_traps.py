"""What looks like an answer and is none: nothing is deleted, nothing is lost, and whoever reads it is told."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from tests.examples import family
from vectorferry import SyncOptions
from vectorferry.connector.plugin import (
    Asset,
    ConfigurationError,
    DeleteGuard,
    IncompleteScanError,
    Reason,
    Rejected,
    SourceError,
)
from vectorferry.connector.sandbox import (
    DropField,
    Fault,
    MixpeekDocumentsDialect,
    Sandbox,
    SetField,
    Shorten,
    Status,
)
from vectorferry.connector.sources.mixpeek import MixpeekSettings
from vectorferry.connector.sources.mixpeek_documents import MixpeekDocumentsSettings
from vectorferry.connector.sources.mixpeek_documents._api import Place, read_document_ids
from vectorferry.connector.testing import MemoryDestination, sync

from .worlds import COLLECTION, QUICK, VECTOR, asset_in, generated, pulled, reading, scanned, settings_for

ANYTHING = DeleteGuard(max_share=1)
FULL = SyncOptions(full=True)
DEFAULTS = MixpeekDocumentsSettings().retry


async def test_a_wrong_namespace_stops_everything_and_deletes_nothing() -> None:
    async with reading() as (source, sandbox):
        store = MemoryDestination()
        await sync(source, [store], name="m")
        wrong = settings_for(sandbox, namespace="generatd").open()
        with pytest.raises(ConfigurationError, match=r"knows no namespace generatd .*; nothing is deleted"):
            await sync(wrong, [store], name="m", deletes=ANYTHING)
        with pytest.raises((ConfigurationError, SourceError)):
            await scanned(wrong)
        await wrong.aclose()
        assert len(store.assets[COLLECTION]) == 12


@pytest.mark.parametrize("per_object", [0, 4])
@pytest.mark.parametrize("share", family([0.99, 0.95, 0.81]))
async def test_a_key_that_is_narrowed_deletes_nothing(share: float, per_object: int) -> None:
    """The same key, address and namespace: nothing but the collection's own count says that there is more."""
    async with reading(generated(400, per_object)) as (source, sandbox):
        store = MemoryDestination()
        await sync(source, [store], name="m")
        assets = len(store.assets[COLLECTION])
        sandbox.narrow(sandbox.api_key, share)
        assert assets == 400 // max(per_object, 1)
        for _ in range(2):
            summary = await sync(source, [store], FULL, name="m", deletes=ANYTHING)
            assert (summary.exit_code, len(store.assets[COLLECTION])) == (0, assets)
            note = str(summary.collections[COLLECTION].note)
            assert "the key sees" in note
            assert "nothing is deleted" in note
        meant = settings_for(sandbox, scoped_key=True).open()
        await sync(meant, [store], FULL, name="m", deletes=ANYTHING)
        await meant.aclose()
        assert len(store.assets[COLLECTION]) == round(share * assets)


@pytest.mark.parametrize("first", [True, False])
async def test_vectors_that_are_late_are_asked_for_again(first: bool) -> None:
    async with reading() as (source, sandbox):
        late = sandbox.documents.document_ids()[0]
        sandbox.documents.withhold(late, VECTOR, times=2)
        before = asyncio.get_running_loop().time()
        asset = asset_in(await pulled(source, first=first), late)
        assert asset.features[0].vectors.keys() == {VECTOR}
        assert not asset.rejected
        assert asyncio.get_running_loop().time() > before + 1


async def test_vectors_that_never_come_are_set_aside_after_a_bounded_number_of_tries() -> None:
    async with reading() as (source, sandbox):
        store = MemoryDestination()
        await sync(source, [store], name="m")
        withheld = sandbox.documents.document_ids()[0]
        sandbox.documents.withhold(withheld, VECTOR)
        sandbox.documents.edit_metadata(withheld, {"author": "somebody"})
        sandbox.requests.reset()
        summary = await sync(source, [store], name="m")
        assert sandbox.requests.counts()["documents.get"] <= 8
        assert summary.exit_code == 3
        stored = store.assets[COLLECTION][withheld]
        assert stored.features
        (record,) = [each for _, each, _ in store.rejected(COLLECTION)]
        assert (record.reason, record.vector_name, record.kept) == (Reason.WITHHELD, VECTOR, True)


@pytest.mark.parametrize("vectors_at", ["root", "vectors", "vector"])
async def test_vectors_that_an_answer_names_and_does_not_hold_are_no_absence(vectors_at: str) -> None:
    dialect = MixpeekDocumentsDialect.model_validate({"vectors_at": vectors_at})
    async with reading(generated(documents=dialect)) as (source, sandbox):
        withheld = sandbox.documents.document_ids()[0]
        sandbox.documents.withhold(withheld, VECTOR)
        asset = asset_in(await pulled(source), withheld)
        assert [(record.reason, record.vector_name) for record in asset.rejected] == [(Reason.WITHHELD, VECTOR)]


async def test_a_store_that_keeps_only_codes_is_not_waited_for_for_every_document() -> None:
    async with reading(generated(60), vectors_per_request=5, page_size=5, concurrency=1) as (source, sandbox):
        for name in sandbox.documents.document_ids():
            sandbox.documents.withhold(name, VECTOR)
        results = await pulled(source)
        assert sum(len(asset_in(results, name).rejected) for name in results) == 60
        assert sandbox.requests.counts()["documents.get"] <= 2 * 3 * 5


async def test_no_key_is_sent_that_the_api_does_not_know() -> None:
    """The sandbox refuses them, as Mixpeek does since November 2026."""
    async with Sandbox(generated()) as sandbox, reading() as (source, served):
        assert sandbox.settings.documents.refuse_unknown_keys
        served.requests.reset()
        await source.collections()
        await pulled(source)
        assert source.usage.retries == 0


async def test_a_sorted_list_ends_early_and_says_so() -> None:
    dialect = MixpeekDocumentsDialect(sorted_scan=5)
    async with reading(generated(documents=dialect)) as (source, _):
        query = {"sort": {"field": "document_id", "direction": "asc"}}
        page = await source._api.documents(COLLECTION, Place(100), query)
        assert (len(page.rows), page.next_cursor) == (5, None)
        assert page.warnings
        assert len(await scanned(source)) == 12


async def test_a_list_that_comes_with_a_warning_is_not_complete() -> None:
    async with reading() as (source, sandbox):
        sandbox.faults.add(Fault(route="documents.list", do=SetField(field="stats", value=None)))
        await scanned(source)
        sandbox.faults.clear()
        sandbox.faults.add(Fault(route="documents.list", do=SetField(field="total_documents", value=13)))
        with pytest.raises(IncompleteScanError, match="there are 12 documents, and there are 13"):
            await scanned(source)


async def test_more_is_listed_than_an_offset_reaches(monkeypatch: pytest.MonkeyPatch) -> None:
    """An offset ends at 10,000: only cursors are used."""
    monkeypatch.setattr("vectorferry.connector.sandbox._mixpeek_documents._requests.MOST_OFFSET", 5)
    async with reading(generated(40), page_size=3) as (source, _):
        assert len(await scanned(source)) == 40


@pytest.mark.parametrize("retry_after", [None, "0", "5"])
async def test_a_cold_store_is_waited_for_for_two_minutes(retry_after: str | None) -> None:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    async with Sandbox(generated()) as sandbox:
        source = settings_for(sandbox).model_copy(update={"retry": DEFAULTS}).open()
        cold = Status(status=503, headers=headers)
        sandbox.faults.add(Fault(route="documents.list", do=cold, times=10))
        before = asyncio.get_running_loop().time()
        assert len(await scanned(source)) == 12
        assert asyncio.get_running_loop().time() - before > 120
        await source.aclose()


async def test_totals_that_nobody_asks_for_are_not_told() -> None:
    async with reading() as (source, sandbox):
        sandbox.faults.add(Fault(route="documents.list", do=DropField(field="total")))
        with pytest.raises(IncompleteScanError) as raised:
            await scanned(source)
        assert raised.value.unknowable


@pytest.mark.parametrize("total_of", ["whole", "partition"])
async def test_a_partition_may_count_itself_or_all(total_of: str) -> None:
    dialect = MixpeekDocumentsDialect.model_validate({"total_of": total_of})
    async with reading(generated(100, documents=dialect), page_size=5, concurrency=4) as (source, sandbox):
        assert len(await scanned(source)) == 100
        cut = Fault(route="documents.list", do=SetField(field="next_cursor", value=None), nth=2, times=1)
        sandbox.faults.add(cut)
        with pytest.raises(IncompleteScanError):
            await scanned(source)


async def test_a_partition_that_is_missing_as_a_whole_is_missed() -> None:
    dialect = MixpeekDocumentsDialect(total_of="partition")
    async with reading(generated(100, documents=dialect), page_size=10, concurrency=2) as (source, sandbox):
        sandbox.faults.add(
            Fault(route="documents.list", containing='"partition":{"index":0', do=SetField(field="results", value=[]))
        )
        with pytest.raises(IncompleteScanError):
            await scanned(source)


async def test_a_list_that_goes_in_circles_ends() -> None:
    async with reading(generated(12), page_size=4) as (source, sandbox):
        sandbox.faults.add(
            Fault(route="documents.list", do=SetField(field="next_cursor", value="eyJhZnRlciI6ICIifQ=="))
        )
        with pytest.raises(IncompleteScanError):
            await scanned(source)


async def test_the_first_api_says_that_it_is_read_by_another_type() -> None:
    async with Sandbox() as sandbox:
        source = settings_for(sandbox, base_url=sandbox.url).open()
        with pytest.raises(SourceError, match=r"set\s+source.type to mixpeek"):
            await source.collections()
        await source.aclose()


async def test_an_account_of_documents_says_that_it_is_read_by_another_type() -> None:
    async with Sandbox() as sandbox:
        said: dict[str, Any] = {"base_url": sandbox.documents_url, "api_key": sandbox.api_key, "retry": QUICK}
        for namespace in ("media", None):
            source = MixpeekSettings.model_validate({**said, "namespace": namespace}).open()
            with pytest.raises((ConfigurationError, SourceError), match="mixpeek-documents"):
                await source.collections()
            with pytest.raises(SourceError, match=r"source\.type: mixpeek-documents"):
                _ = [listing async for listing in source.scan("col_quickstart")]
            await source.aclose()


async def test_numbers_are_those_that_were_sent() -> None:
    async with reading() as (source, sandbox):
        name = sandbox.documents.document_ids()[0]
        sandbox.documents.put_vector(name, VECTOR, [0.1, 1e-30, -2, 3.4e38])
        vector = asset_in(await pulled(source), name).features[0].vectors[VECTOR]
        assert np.array_equal(vector, np.array([0.1, 1e-30, -2, 3.4e38], np.float32))  # type: ignore[arg-type]
        assert isinstance(asset_in(await pulled(source), name), Asset)


def _rows_of(sandbox: Sandbox, asset_id: str) -> list[dict[str, Any]]:
    names = sandbox.documents.document_ids(asset_id)
    return [{"document_id": name, "collection_id": COLLECTION, **sandbox.documents.document(name)} for name in names]


async def test_an_object_that_came_with_less_than_was_listed_is_not_written_as_if_that_were_all() -> None:
    """Nothing compares a new asset with what was stored before, and its fingerprint would be that of the whole."""
    async with reading(generated(12, 4)) as (source, sandbox):
        store = MemoryDestination()
        for route, rows in (("documents.vectors", "results"), ("documents.of_object", "documents")):
            sandbox.faults.add(Fault(route=route, do=Shorten(field=rows, keep=0.75)))
        summary = await sync(source, [store], FULL, name="m")
        assert (summary.exit_code, store.assets) == (1, {})
        assert "documents of obj_0_0000000" in str(summary.collections[COLLECTION].error)
        sandbox.faults.clear()
        healed = await sync(source, [store], name="m")
        assert healed.exit_code == 0
        assert [len(asset.features) for asset in store.assets[COLLECTION].values()] == [4, 4, 4]


async def test_a_document_that_comes_twice_does_not_stand_for_another() -> None:
    """The list by ids has as many rows as it announces."""
    async with reading(generated(12, 4)) as (source, sandbox):
        listed = await scanned(source)
        first = next(iter(listed))
        one, *others = _rows_of(sandbox, first)
        twice = SetField(field="results", value=[one, *others[:-1], one])
        sandbox.faults.add(Fault(route="documents.vectors", do=twice))
        asset = asset_in(await pulled(source, [listed[first]]), first)
        assert len(asset.features) == 4
        assert all(feature.vectors for feature in asset.features)


async def test_a_document_that_went_after_it_was_listed_is_the_next_run_s() -> None:
    async with reading(generated(12, 4)) as (source, sandbox):
        before = await scanned(source)
        first = next(iter(before))
        sandbox.documents.remove_document(sandbox.documents.document_ids(first)[0])
        assert (await pulled(source, [before[first]])) == {}
        after = await scanned(source)
        assert len(asset_in(await pulled(source, [after[first]]), first).features) == 3


async def test_documents_of_another_object_are_not_taken_for_those_that_were_asked_for() -> None:
    dialect = MixpeekDocumentsDialect(filters="refused")
    async with reading(generated(12, 4, documents=dialect)) as (source, sandbox):
        listed = await scanned(source)
        first, second, *_ = listed
        other = SetField(field="documents", value=_rows_of(sandbox, second))
        sandbox.faults.add(Fault(route="documents.of_object", do=other))
        result = (await pulled(source, [listed[first]]))[first]
        assert isinstance(result, Rejected)
        assert "documents of another asset" in result.detail


def test_an_object_s_answer_that_announces_more_than_it_has_is_none() -> None:
    assert read_document_ids(b'{"documents": [{"document_id": "a"}], "total_documents": 1}') == ["a"]
    with pytest.raises(ValueError, match="fewer documents"):
        read_document_ids(b'{"documents": [{"document_id": "a"}, {"document_id": "a"}], "total_documents": 2}')


async def test_an_answer_about_another_collection_is_not_taken() -> None:
    async with reading() as (source, sandbox):
        sandbox.faults.add(
            Fault(route="documents.collections.get", do=SetField(field="collection_id", value="col_another"))
        )
        with pytest.raises(SourceError, match="another collection"):
            await scanned(source)


async def test_a_collection_of_whose_vectors_nothing_can_be_learned_is_not_read_as_one_without_any() -> None:
    async with reading() as (source, sandbox):
        forgotten = DropField(field="vector_indexes")
        sandbox.faults.add(
            Fault(route="documents.collections.get", do=forgotten),
            Fault(route="documents.collections.features", do=Status(status=503)),
        )
        with pytest.raises(SourceError, match="/features"):
            await scanned(source)


async def test_what_another_process_has_listed_is_held_against_its_fingerprint() -> None:
    """As in a run that workers share: an object that is not what was listed is asked for its documents, no other is."""
    async with reading(generated(12, 4)) as (source, sandbox):
        listed = await scanned(source)
        first = next(iter(listed))
        sandbox.documents.remove_document(sandbox.documents.document_ids(first)[0])
        worker = settings_for(sandbox).open()
        sandbox.requests.reset()
        results = await pulled(worker, listed.values())
        await worker.aclose()
        assert [len(asset_in(results, name).features) for name in listed] == [3, 4, 4]
        assert sandbox.requests.counts()["documents.of_object"] == 1
