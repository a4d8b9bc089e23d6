"""What ``plan --at`` works out from settings alone, against figures worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from vectorferry import parse_settings
from vectorferry.connector._engine.plan._scale import load_like, run_scale, scale
from vectorferry.connector._model._mapping import VectorMapping
from vectorferry.connector._reports._scale import Scale
from vectorferry.connector.plugin import Averages, IndexAdvice, Leg, Load, Modality, Planned, VectorLoad
from vectorferry.connector.sources.twelvelabs import TwelveLabsSettings
from vectorferry.destinations.pgvector._storage import SPARSE_DIMENSION, storage_for, table_bytes

HOUR = 3_600
AT = 10**9


def settings(source: dict[str, Any], *destinations: dict[str, Any], **more: Any) -> Any:
    """Of a sync at 600 requests a minute, into a Postgres that is nowhere if nothing else is said."""
    namespace = {"namespace": "n"} if source["type"] == "mixpeek-documents" else {}
    described = {"api_key": "k", "requests_per_minute": 600, **namespace, **source}
    nowhere = {"type": "pgvector", "url": "postgresql://nobody@127.0.0.1:1/nothing"}
    where = [*destinations] or [nowhere]
    return parse_settings({"name": "media", "source": described, "destinations": where, **more}, "test")


def planned(described: Any, features: int = AT) -> tuple[Scale, dict[str, Leg]]:
    whole = scale(described, described.source.load(features))
    return whole, {leg.kind: leg for leg in whole.legs}


def test_a_billion_documents_take_a_request_a_thousand_to_list_and_to_read() -> None:
    _, legs = planned(settings({"type": "mixpeek-documents"}))
    read, write = legs["read"], legs["write"]
    assert read.requests == 2 * AT / 1_000
    assert read.bound == "requests_per_minute: 600"
    assert read.seconds == pytest.approx(2 * 27.8 * HOUR, rel=0.01)
    assert read.bytes == pytest.approx(15.4e12 + 0.55e12, rel=0.05)  # with vectors, and listed without
    assert write.seconds == pytest.approx(14 * HOUR, rel=0.05)


def test_documents_that_are_assets_of_their_own_come_as_they_are_listed() -> None:
    """A million of 64 numbers, as `tests/benchmarks/test_scale.py` measured them on a quiet machine of two cores: 1,008
    requests, 1.41 GB, and 320 s to build an index in index_memory_mb: 1024, which it fitted into."""
    million, described = 10**6, settings({"type": "mixpeek-documents"})
    load = Load(million, million, [VectorLoad(Modality.TEXT, "text", 64, million)], 300)
    legs = {leg.kind: leg for leg in scale(described, load).legs}
    assert legs["read"].requests == pytest.approx(1_008, rel=0.2)
    assert legs["read"].bytes == pytest.approx(1.41e9, rel=0.2)
    assert legs["index"].seconds == pytest.approx(320, rel=0.2)
    assert not legs["index"].misfits


def test_twelvelabs_gives_ninety_vectors_an_asset() -> None:
    _, legs = planned(settings({"type": "twelvelabs"}))
    assert legs["read"].requests == pytest.approx(1.1e7 * 1.02, rel=0.02)


def test_mixpeeks_first_api_takes_a_request_for_every_feature() -> None:
    _, legs = planned(settings({"type": "mixpeek"}))
    assert legs["read"].requests == AT // 10 // 100 + AT // 10 + AT


def test_pinecone_takes_what_a_namespace_takes_and_has_a_price() -> None:
    pinecone = {"type": "pinecone", "api_key": "k", "vectors": "all"}
    whole, legs = planned(settings({"type": "mixpeek-documents"}, pinecone))
    assert legs["write"].seconds == pytest.approx(32 * HOUR, rel=0.1)
    assert whole.dollars == pytest.approx(24_500, rel=0.02)
    assert "Starter" in whole.misfits[0]


@pytest.mark.parametrize(
    ("column", "dimension", "measured"),
    [("vector", 512, 2_850), ("vector", 1024, 5_607), ("vector", 1408, 6_285), ("halfvec", 1408, 3_395)],
)
def test_a_table_is_as_large_as_docs_postgres_md_measured_it(column: Any, dimension: int, measured: int) -> None:
    storage = storage_for(column, dimension, VectorMapping())
    assert table_bytes(storage, 4_000) / 4_000 == pytest.approx(measured, rel=0.02)


def test_what_will_not_fit_is_told_with_what_helps() -> None:
    whole, legs = planned(settings({"type": "mixpeek-documents"}))
    assert legs["index"].memory_bytes == pytest.approx(7.6e12, rel=0.01)
    (misfit,) = whole.misfits
    assert "more than index_memory_mb (1,024)" in misfit
    smaller, legs = planned(settings({"type": "mixpeek-documents"}), 10_000)
    assert smaller.misfits == []
    assert legs["index"].bound == "hnsw"
    many, _ = planned(settings({"type": "mixpeek-documents"}), 6 * AT)
    assert any("32 TB" in each for each in many.misfits)


def test_without_a_limit_latency_bounds_it_and_it_says_that_none_is_set() -> None:
    whole, legs = planned(settings({"type": "mixpeek", "requests_per_minute": None}), 10**6)
    assert legs["read"].bound == "concurrency: 8, 200 ms an answer"
    assert "no requests_per_minute is set" in whole.misfits[0]


def test_what_is_read_and_written_goes_on_side_by_side_and_indexes_come_after() -> None:
    def leg(name: str, kind: Any, seconds: float) -> Leg:
        return Leg(name, kind, seconds, "")

    first = [leg("write a", "write", 10), leg("index a", "index", 5), leg("index b", "index", 7)]
    whole, _ = planned(settings({"type": "mixpeek"}), 10)
    assert Scale("media", whole.load, False, [leg("read", "read", 20)], {"a": first}).seconds == 32
    assert Scale("media", whole.load, False, [leg("read", "read", 3)], {"a": first, "b": first[:1]}).seconds == 22
    assert Scale("media", whole.load, False, [leg("read", "read", 3)], {}).seconds == 3


def test_what_is_stored_tells_what_more_of_it_is_like() -> None:
    stored = Planned(
        lambda _, __: {},
        lambda _: (),
        averages=Averages(features_per_asset=4.0, rows_per_feature=2.5, bytes_per_feature=1.0),
        vector_kinds=[(Modality.VIDEO, "a", 64), (Modality.TEXT, "b", None)],
        index_advice=[
            IndexAdvice("t", "a", 200, 64, "hnsw", 1, 1.0, fine=True, advice=""),
            IndexAdvice("u", "b", 100, None, "none", 1, 1.0, fine=True, advice=""),
        ],
    )
    load = load_like(stored, 1_000)
    assert (load.assets, load.features) == (250, 1_000)
    assert load.vectors == [VectorLoad(Modality.VIDEO, "a", 64, 1_000), VectorLoad(Modality.TEXT, "b", None, 500)]


def test_a_destination_that_cannot_be_asked_is_no_reason_to_say_nothing() -> None:
    described = settings({"type": "mixpeek-documents"})
    assert run_scale(described, 1_000).load.vectors[0].dimension == 1408
    whole = run_scale(described, 1_000, 64)
    assert (whole.load.vectors[0].dimension, whole.measured) == (64, False)


def test_sparse_vectors_and_unindexed_ones_have_a_size_too() -> None:
    assert table_bytes(storage_for("sparsevec", SPARSE_DIMENSION, VectorMapping()), 1_000) > 0
    unindexed = {"video": {"vectors": {"marengo3.0-visual": {"index": "none"}}}}
    described = settings({"type": "twelvelabs"}, modalities=unindexed)
    indexes = [leg for leg in scale(described, described.source.load(900)).legs if leg.kind == "index"]
    assert sorted(leg.memory_bytes == 0 for leg in indexes) == [False, False, True]
    assert TwelveLabsSettings(api_key=SecretStr("k"), options=("visual",)).load(60).assets == 2
