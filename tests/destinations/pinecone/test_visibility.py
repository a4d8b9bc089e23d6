"""What was written is visible to queries only later, and how far that has come is remembered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from vectorferry.connector.plugin import Reason, Rejected, SchemaMapping
from vectorferry.connector.sandbox import PineconeDialect, Sandbox, running_sandbox
from vectorferry.destinations import PineconeDestination
from vectorferry.destinations.pinecone import _destination

from ...builders import asset, batch, dense, feature
from ...pinecone import pinecone_alone, pinecone_destination
from ...waiting import PATIENCE
from .conftest import Open
from .test_verify import opened


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """One whose queries see a write only after it was told to."""
    dialect = PineconeDialect(visible_after_ms=3_600_000, delete_all_removes_namespace=True)
    with running_sandbox(pinecone_alone(pinecone=dialect)) as running:
        yield running


@pytest.fixture
def lagging(postgres_url: str, schema: str) -> Iterator[PineconeDestination]:
    """Reads show what was written to it a second later."""
    settings = pinecone_alone(pinecone=PineconeDialect(visible_after_ms=1_000))
    with running_sandbox(settings) as running, closing(pinecone_destination(running, postgres_url, schema)) as late:
        late.prepare(SchemaMapping())
        yield late


def test_what_was_written_is_told_and_what_is_visible_is_asked_for(sandbox: Sandbox, open_pinecone: Open) -> None:
    destination = open_pinecone()
    destination.apply(batch(asset("a", feature("f1"))))
    assert [(one.place, one.visible) for one in destination.delivered().places] == [("media-model-v1-8/ads", None)]
    assert [one.is_visible for one in destination.delivered(wait=0.01).places] == [False]
    sandbox.pinecone.settle()
    assert [one.is_visible for one in destination.delivered(wait=PATIENCE).places] == [True]


@pytest.mark.long
def test_a_later_run_asks_only_for_what_nobody_has_seen(sandbox: Sandbox, open_pinecone: Open) -> None:
    open_pinecone().apply(batch(asset("a", feature("f1"))))
    sandbox.pinecone.settle()
    later = open_pinecone()
    assert [one.is_visible for one in later.delivered(wait=PATIENCE).places] == [True]
    queries = sandbox.requests.counts()["pinecone.query"]
    assert open_pinecone().delivered(wait=PATIENCE).places == []
    assert sandbox.requests.counts()["pinecone.query"] == queries


def test_an_earlier_vector_that_reads_do_not_show_yet_is_waited_for(lagging: PineconeDestination) -> None:
    lagging.apply(batch(asset("a", feature("f1", {"left": dense(1), "right": dense(1)}, text="old"))))
    bad = Rejected("a", Reason.NOT_FINITE, "infinity", "f1", "video", "left")
    (record,) = lagging.apply(batch(asset("a", feature("f1", {"right": dense(1)}), rejected=[bad]))).rejected
    assert record.kept
    lagging.delivered(wait=PATIENCE)
    assert list(lagging.discrepancies("ads")) == []


@pytest.mark.timeout(120)
def test_a_namespace_that_is_gone_is_not_waited_for_and_then_forgotten(
    sandbox: Sandbox, open_pinecone: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was, for as long as anybody said: nothing will ever be seen there."""
    monkeypatch.setattr(_destination, "SECONDS_TO_BE_LISTED", 0.1)
    open_pinecone().apply(batch(asset("a", feature("f1"))))
    with opened(sandbox) as index:
        index.delete(delete_all=True, namespace="ads")
    assert open_pinecone().delivered(wait=3_600).places == []
    assert open_pinecone().delivered().places == []
    again = open_pinecone()
    again.apply(batch(asset("b", feature("f1"))))
    sandbox.pinecone.settle()
    assert [one.is_visible for one in again.delivered(wait=PATIENCE).places] == [True]
