"""What was written is visible to queries only later, and how far that has come is remembered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connector.sandbox import PineconeDialect, Sandbox, running_sandbox

from ...builders import asset, batch, feature
from ...pinecone import pinecone_alone
from ...waiting import PATIENCE
from .conftest import Open


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """One whose queries see a write only after it was told to."""
    with running_sandbox(pinecone_alone(pinecone=PineconeDialect(visible_after_ms=3_600_000))) as running:
        yield running


def test_what_was_written_is_told_and_what_is_visible_is_asked_for(sandbox: Sandbox, open_pinecone: Open) -> None:
    destination = open_pinecone()
    destination.apply(batch(asset("a", feature("f1"))))
    assert [(one.place, one.visible) for one in destination.delivered().places] == [("media-model-v1-8/ads", None)]
    assert [one.is_visible for one in destination.delivered(wait=0.01).places] == [False]
    sandbox.pinecone.settle()
    assert [one.is_visible for one in destination.delivered(wait=PATIENCE).places] == [True]


def test_a_later_run_asks_only_for_what_nobody_has_seen(sandbox: Sandbox, open_pinecone: Open) -> None:
    open_pinecone().apply(batch(asset("a", feature("f1"))))
    sandbox.pinecone.settle()
    later = open_pinecone()
    assert [one.is_visible for one in later.delivered(wait=PATIENCE).places] == [True]
    queries = sandbox.requests.counts()["pinecone.query"]
    assert open_pinecone().delivered(wait=PATIENCE).places == []
    assert sandbox.requests.counts()["pinecone.query"] == queries
