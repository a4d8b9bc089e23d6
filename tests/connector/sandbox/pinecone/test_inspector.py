"""What a test can learn about the store without asking its API."""

from __future__ import annotations

import numpy as np
import pytest

from tests.connector.sandbox.pinecone.serving import SdkIndex, World, record


def test_records_are_shown_as_they_are_kept(here: World) -> None:
    index = here.index(metric="dotproduct")
    index.upsert(vectors=[{**record("a", n=1), "sparse_values": {"indices": [3], "values": [0.5]}}], namespace="t")
    kept = here.sandbox.pinecone.records("clips", "t")["a"]
    assert (kept["sparse"], kept["metadata"]) == ({3: 0.5}, {"n": 1})
    assert kept["values"].dtype == np.float32
    assert here.sandbox.pinecone.records("clips", "nothing") == {}
    with pytest.raises(KeyError):
        here.sandbox.pinecone.records("nothing")


def test_digests_tell_what_is_kept_and_not_how_it_came(here: World, index: SdkIndex) -> None:
    other = here.index("other")
    index.upsert(vectors=[record("a", x=1, y=2), record("b")])
    other.upsert(vectors=[record("b", n=1), record("c")])
    other.upsert(vectors=[record("b"), record("a", y=2, x=1)])
    digests = here.sandbox.pinecone
    assert digests.digest("clips") != digests.digest("other")
    other.delete(ids=["c"])
    assert digests.digest("clips") == digests.digest("other")
    for change in ({"values": [1, 2, 3, 5]}, {"set_metadata": {"x": 2}}):
        other.update(id="a", **change)
        assert digests.digest("clips") != digests.digest("other")
        other.upsert(vectors=[record("a", x=1, y=2)])
        assert digests.digest("clips") == digests.digest("other")


def test_counts_and_digests_come_over_http_without_a_key(here: World, index: SdkIndex) -> None:
    index.upsert(vectors=[record("a"), record("b")], namespace="t")
    told = here.http(key="none").get("/_sandbox/pinecone").json()
    assert told == {"clips": {"t": {"records": 2, "digest": here.sandbox.pinecone.digest("clips", "t")}}}
    assert here.sandbox.pinecone.indexes() == ["clips"]
