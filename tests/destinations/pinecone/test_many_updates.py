"""Where only metadata has changed, no vector is sent, unless very many have: an update is a request for each."""

from __future__ import annotations

import pytest

from tests.examples import family
from vectorferry.connector.plugin import Batch
from vectorferry.connector.sandbox import Sandbox
from vectorferry.destinations.pinecone import _batch, _write_plan

from ...builders import asset, batch, feature
from .conftest import Open
from .store import INDEX


def about(text: str) -> Batch:
    """Ten assets, each with a feature that says this."""
    return batch(*(asset(f"a{number}", feature("f1", text=text), fingerprint=text) for number in range(10)))


@pytest.mark.parametrize("most", family([10, 4, 0], (1,)))
def test_the_rest_of_a_batch_is_written_whole(
    sandbox: Sandbox, open_pinecone: Open, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(_write_plan, "_MOST_UPDATES", most)
    monkeypatch.setattr(_batch, "_FIRST_GROUP_BYTES", 1)
    destination = open_pinecone()
    destination.apply(about("old"))
    sandbox.requests.reset()
    destination.apply(about("new"))
    counted = sandbox.requests.counts()
    assert counted.get("pinecone.update", 0) == most
    assert ("pinecone.upsert" in counted) == (most < 10)
    assert {one["metadata"]["text"] for one in sandbox.pinecone.records(INDEX, "ads").values()} == {"new"}
