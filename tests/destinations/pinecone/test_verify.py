"""What a check of Pinecone finds beside missing and altered records, and what it leaves alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from pinecone import Pinecone

from vectorferry import Verification
from vectorferry.connector.plugin import Asset, Difference, Discrepancy, Feature, Modality, SchemaMapping, Vector
from vectorferry.connector.sandbox import Sandbox
from vectorferry.connector.testing import MemorySource, verify
from vectorferry.destinations import PineconeDestination

from ...builders import asset, batch, dense, feature, sparse
from .conftest import Open

INDEX = "media-model-v1-8"
HYBRID = SchemaMapping.model_validate({"video": {"vectors": {"model-v1": {"metric": "inner_product"}}}})


@contextmanager
def opened(sandbox: Sandbox, index: str = INDEX) -> Iterator[Any]:
    with Pinecone(api_key=sandbox.api_key, host=sandbox.url) as pinecone, pinecone.Index(index) as there:
        yield there


def checked(destination: PineconeDestination, source: MemorySource, *, repair: bool = False) -> Verification:
    return asyncio.run(verify(source, [destination], name="media", sample=None, repair=repair))


def told(vector: Vector) -> Asset:
    return Asset("a", "v1", "video", features=(Feature("f1", "video", {"text": "x"}, {"model-v1": vector}),))


def record(asset_id: str, feature_id: str, collection: str = "ads") -> dict[str, Any]:
    names = {"collection": collection, "asset_id": asset_id, "feature_id": feature_id, "modality": "video"}
    return {"id": f"{asset_id}#{feature_id}", "values": [9.0] * 8, "metadata": names}


@pytest.mark.long
def test_a_record_of_an_asset_that_nobody_has_is_removed(open_pinecone: Open, sandbox: Sandbox) -> None:
    destination, source = open_pinecone(), MemorySource({"ads": [told(dense(1))]})
    source.assets["ads"] |= {str(n): Asset(str(n), "v1", features=told(dense(1)).features) for n in range(10)}
    assert checked(destination, source, repair=True).exit_code == 0
    before = sandbox.pinecone.digest(INDEX, "ads")
    with opened(sandbox) as index:
        index.upsert(vectors=[record("ghost", "f1")], namespace="ads")
    (found,) = checked(destination, source).collections["ads"].findings
    assert found.record == Discrepancy(Difference.EXTRA, "ghost", "f1", Modality.VIDEO, "model-v1")
    assert checked(destination, source, repair=True).exit_code == 0
    assert sandbox.pinecone.digest(INDEX, "ads") == before
    assert checked(destination, source).in_step


def test_what_others_keep_in_the_namespace_is_left_alone(open_pinecone: Open, sandbox: Sandbox) -> None:
    destination = open_pinecone()
    destination.apply(batch(asset("a", feature("f1"))))
    with opened(sandbox) as index:
        index.upsert(vectors=[record("a", "f2", "films"), {"id": "theirs", "values": [1.0] * 8}], namespace="ads")
    assert list(destination.discrepancies("ads")) == []


def test_records_that_a_killed_run_was_writing_are_left_to_the_next_sync(
    open_pinecone: Open, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = open_pinecone()
    destination.apply(batch(asset("a", feature("f1")), asset("b", feature("f1"))))
    with monkeypatch.context() as patches:
        patches.setattr(type(destination._manifest), "confirm", _killed)
        with pytest.raises(KeyboardInterrupt):
            destination.apply(batch(asset("a", feature("f1", {"model-v1": dense(3)}), feature("f2"))))
    assert set(sandbox.pinecone.records(INDEX, "ads")) == {"a#f1", "a#f2", "b#f1"}
    assert list(destination.discrepancies("ads")) == []
    assert set(destination.known("ads", ["a", "b"])) == {"b"}


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_record_with_two_vectors_is_compared_whole_and_has_no_hash_of_its_own(
    open_pinecone: Open, sandbox: Sandbox
) -> None:
    destination = open_pinecone(HYBRID, hybrid={"model-v1": "words"})
    both: dict[str, Vector] = {"model-v1": dense(1), "words": sparse({7: 0.5, 2: 1.5})}
    one = feature("f1", both)
    destination.apply(batch(asset("a", one)))
    assert list(destination.discrepancies("ads")) == []
    assert [(each.vector_name, each.digest) for each in destination.digests("ads") if each.feature_id] == [
        ("", one.row_hash),
        ("model-v1", b""),
    ]
    (name,) = sandbox.pinecone.indexes()
    with opened(sandbox, name) as index:
        index.update(id="a#f1", sparse_values={"indices": [2, 7], "values": [1.5, 0.75]}, namespace="ads")
    (found,) = destination.discrepancies("ads")
    assert (found.kind, found.feature_id, found.vector_name) == (Difference.DIFFERENT, "f1", "model-v1")


def test_rows_of_a_manifest_that_was_made_again_have_no_hash_until_they_are_read(
    open_pinecone: Open, postgres_url: str, schema: str
) -> None:
    open_pinecone().apply(batch(asset("a", feature("f1"))))
    with psycopg.connect(postgres_url) as connection:
        connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())
    again = open_pinecone()
    assert list(again.discrepancies("ads")) == []
    assert [(one.vector_name, one.digest) for one in again.digests("ads")] == [
        ("", b""),
        ("model-v1", feature("f1").vector_hashes["model-v1"]),
    ]
