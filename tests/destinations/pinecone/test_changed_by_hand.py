"""Somebody deletes an index, or makes one anew, between two runs: nothing is taken to be there that is not."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.examples import family
from vectorferry.connector.plugin import ConfigurationError, DestinationError, RetryableError, SchemaMapping
from vectorferry.connector.sandbox import Fault, Sandbox, SetField
from vectorferry.destinations.pinecone._manifest import Manifest
from vectorferry.destinations.pinecone._manifest_tables import IndexRow

from ...builders import asset, batch, feature
from ...waiting import PATIENCE
from .conftest import Open
from .histories import Killed
from .store import INDEX, delete_index, lose_manifest, make_index, stored_ids

ONE = batch(asset("a", feature("f1")))


def test_an_index_that_was_made_anew_is_filled_again(sandbox: Sandbox, open_pinecone: Open) -> None:
    open_pinecone().apply(ONE)
    delete_index(sandbox)
    make_index(sandbox, INDEX)
    again = open_pinecone()
    assert again.known("ads", ["a"]) == {}
    again.apply(ONE)
    assert stored_ids(sandbox) == {"a#f1"}
    assert open_pinecone().known("ads", ["a"]).keys() == {"a"}


def test_an_index_that_is_made_anew_meanwhile_is_written_where_it_is_now(sandbox: Sandbox, open_pinecone: Open) -> None:
    destination = open_pinecone()
    destination.apply(ONE)
    delete_index(sandbox)
    make_index(sandbox, INDEX)
    destination.prepare(SchemaMapping())
    destination.apply(ONE)
    assert stored_ids(sandbox) == {"a#f1"}
    assert [one.is_visible for one in destination.delivered(wait=PATIENCE).places] == [True]


def test_an_index_that_was_made_anew_with_another_metric_is_named(sandbox: Sandbox, open_pinecone: Open) -> None:
    open_pinecone().apply(ONE)
    delete_index(sandbox)
    make_index(sandbox, INDEX, metric="euclidean")
    with pytest.raises(ConfigurationError, match=f"{INDEX} exists and is for 8 dimensions and euclidean"):
        open_pinecone().apply(ONE)


def test_an_index_that_moved_is_written_where_it_is_now(sandbox: Sandbox, open_pinecone: Open) -> None:
    destination = open_pinecone()
    destination.apply(ONE)
    moved = IndexRow(INDEX, "model-v1", 8, "cosine", "http://127.0.0.1:9")
    destination._manifest.put_index(moved)
    again = open_pinecone()
    again.apply(ONE)
    assert again.delivered().requests == 0, "what was found there is what is desired"
    again.apply(batch(asset("a", feature("f1"), feature("f2"), fingerprint="2")))
    assert stored_ids(sandbox) == {"a#f1", "a#f2"}


@pytest.fixture
def half_rebuilt(open_pinecone: Open, postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost manifest, and a run that was killed while it was being made again."""
    open_pinecone().apply(ONE)
    lose_manifest(postgres_url, schema)
    adopt = Manifest.adopt

    def last(manifest: Manifest, *found: Any) -> None:
        adopt(manifest, *found)
        raise Killed

    with monkeypatch.context() as patches:
        patches.setattr(Manifest, "adopt", last)
        with pytest.raises(Killed):
            open_pinecone()


@pytest.mark.long
@pytest.mark.usefixtures("half_rebuilt")
def test_a_rebuild_that_was_killed_begins_anew(sandbox: Sandbox, open_pinecone: Open) -> None:
    sandbox.requests.reset()
    destination = open_pinecone()
    assert sandbox.requests.counts()["pinecone.fetch"] == 1
    destination.apply(ONE)
    assert destination.delivered().requests == 0
    open_pinecone()
    assert sandbox.requests.counts()["pinecone.fetch"] == 1


@pytest.mark.long
@pytest.mark.usefixtures("half_rebuilt")
def test_what_a_killed_rebuild_has_found_is_forgotten_with_its_index(sandbox: Sandbox, open_pinecone: Open) -> None:
    delete_index(sandbox)
    destination = open_pinecone()
    destination.apply(ONE)
    assert stored_ids(sandbox) == {"a#f1"}
    destination.remove("ads", ["a"])
    assert stored_ids(sandbox) == set()


@pytest.mark.long
@pytest.mark.usefixtures("half_rebuilt")
def test_an_asset_that_only_a_killed_rebuild_knows_can_be_removed(sandbox: Sandbox, open_pinecone: Open) -> None:
    delete_index(sandbox)
    destination = open_pinecone()
    assert list(destination.asset_ids("ads")) == ["a"]
    destination.remove("ads", ["a"])
    assert list(destination.asset_ids("ads")) == []


@pytest.mark.parametrize("host", ["http://203.0.113.7", "https://user@203.0.113.7"])
def test_the_key_is_not_sent_to_an_unsafe_address(
    sandbox: Sandbox, open_pinecone: Open, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    destination = open_pinecone()
    sandbox.faults.add(Fault(route="pinecone.indexes.get", do=SetField(field="host", value=host)))
    with caplog.at_level(logging.DEBUG), pytest.raises(DestinationError, match=f"for the index {INDEX}"):
        destination.apply(ONE)
    assert sandbox.api_key not in caplog.text


@pytest.mark.parametrize("field", family(["indexes", "schema", "name", "status"]))
def test_an_index_that_a_list_passes_over_is_not_gone(sandbox: Sandbox, open_pinecone: Open, field: str) -> None:
    """The SDK leaves out of a list what it cannot read."""
    open_pinecone().apply(ONE)
    unreadable = SetField(field=field, value=[{"a": 3}])
    sandbox.faults.add(Fault(route="pinecone.indexes.list", do=unreadable))
    assert open_pinecone().known("ads", ["a"]).keys() == {"a"}
    sandbox.faults.add(Fault(route="pinecone.indexes.get", do=SetField(field="status", value=3)))
    with pytest.raises(RetryableError, match=f"looking at the index {INDEX}"):
        open_pinecone()
