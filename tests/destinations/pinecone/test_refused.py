"""What the store refuses leaves no half of a feature behind, and is never taken for done."""

from __future__ import annotations

from typing import Any

import pytest

from vectorferry.connector.plugin import Batch, CredentialsError, DestinationError, Modality, Reason, Rejected
from vectorferry.connector.sandbox import Fault, Sandbox, Status
from vectorferry.destinations.pinecone._manifest import Manifest

from ...builders import asset, batch, dense, feature
from .conftest import Open
from .histories import Killed
from .store import stored_ids

REFUSED = Status(status=400)
MODEL, OTHER = "media-model-v1-8", "media-other-4"


def in_two_indexes(number: float, fingerprint: str, **columns: Any) -> Batch:
    vectors = {"model-v1": dense(number), "other": dense(number, dimension=4)}
    features = [feature(name, vectors, **columns) for name in ("f1", "f2")]
    return batch(asset("a", *features, fingerprint=fingerprint))


@pytest.mark.long
def test_a_vector_refused_in_one_index_leaves_its_earlier_version_and_all_of_the_rest(
    sandbox: Sandbox, open_pinecone: Open
) -> None:
    destination = open_pinecone()
    destination.apply(in_two_indexes(1, "1"))
    sandbox.faults.add(Fault(route="pinecone.upsert", containing='"a#f1","values":[2.0,1.0,1.0,1.0]', do=REFUSED))
    applied = destination.apply(in_two_indexes(2, "2", text="new"))
    (record,) = applied.rejected
    assert (record.reason, record.feature_id, record.vector_name) == (Reason.REFUSED, "f1", "other")
    assert record.kept
    assert stored_ids(sandbox) == stored_ids(sandbox, OTHER) == {"a#f1", "a#f2"}
    one, other = (sandbox.pinecone.records(index, "ads")["a#f1"] for index in (MODEL, OTHER))
    assert (one["values"][0], other["values"][0]) == (2.0, 1.0)
    assert one["metadata"] == other["metadata"]
    assert other["metadata"]["text"] == "new"
    assert list(destination.discrepancies("ads")) == []

    sandbox.faults.clear()
    assert destination.apply(in_two_indexes(2, "2")).rejected == []
    assert sandbox.pinecone.records(OTHER, "ads")["a#f1"]["values"][0] == 2.0
    assert destination.quarantined("ads") == 0


def test_nothing_of_a_batch_begins_any_more_once_a_part_of_it_has_failed(
    sandbox: Sandbox, open_pinecone: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part would try again for as long as the first has, and all of the batch is written anew."""
    monkeypatch.setattr("vectorferry.destinations.pinecone._batch._FIRST_GROUP_BYTES", 1)
    monkeypatch.setattr("vectorferry.destinations.pinecone._batch._LARGEST_GROUP_BYTES", 1)
    destination = open_pinecone()
    destination.apply(batch(asset("a0", feature("f1"))))
    sandbox.faults.add(Fault(route="pinecone.upsert", do=Status(status=401)))
    sandbox.requests.reset()
    many = batch(*(asset(f"a{number}", feature("f1", text="new")) for number in range(1, 121)))
    with pytest.raises(CredentialsError):
        destination.apply(many)
    assert sandbox.requests.counts()["pinecone.upsert"] < 80, "of 120 parts"
    monkeypatch.undo()
    sandbox.faults.clear()
    destination.apply(many)
    assert len(stored_ids(sandbox)) == 121
    assert list(destination.discrepancies("ads")) == []


def test_a_feature_of_which_every_record_is_refused_stays_as_it_was(sandbox: Sandbox, open_pinecone: Open) -> None:
    destination = open_pinecone()
    destination.apply(in_two_indexes(1, "1"))
    sandbox.faults.add(Fault(route="pinecone.upsert", containing='"a#f1"', do=REFUSED))
    (record,) = destination.apply(in_two_indexes(2, "2", text="new")).rejected
    assert (record.feature_id, record.vector_name, record.kept) == ("f1", "", True)
    assert [sandbox.pinecone.records(index, "ads")["a#f1"]["values"][0] for index in (MODEL, OTHER)] == [1.0, 1.0]
    assert destination.known("ads", ["a"])["a"].features[Modality.VIDEO] == 2
    assert list(destination.discrepancies("ads")) == []


def test_a_vector_that_is_refused_with_its_earlier_version_is_given_up(sandbox: Sandbox, open_pinecone: Open) -> None:
    destination = open_pinecone()
    destination.apply(in_two_indexes(1, "1"))
    sandbox.faults.add(Fault(route="pinecone.upsert", containing='"a#f1","values":[2.0,1.0,1.0,1.0]', do=REFUSED))
    sandbox.faults.add(Fault(route="pinecone.upsert", containing='"a#f1","values":[1.0,1.0,1.0,1.0]', do=REFUSED))
    (record,) = destination.apply(in_two_indexes(2, "2", text="new")).rejected
    assert (record.vector_name, record.kept) == ("other", False)
    assert stored_ids(sandbox) == {"a#f1", "a#f2"}
    assert stored_ids(sandbox, OTHER) == {"a#f2"}
    assert list(destination.discrepancies("ads")) == []


def test_a_record_that_cannot_be_deleted_is_not_forgotten(sandbox: Sandbox, open_pinecone: Open) -> None:
    destination = open_pinecone()
    destination.apply(batch(asset("a", feature("f1"), feature("f2"))))
    without = batch(asset("a", feature("f2"), fingerprint="2"))
    sandbox.faults.add(Fault(route="pinecone.delete", do=REFUSED))
    with pytest.raises(DestinationError, match=r"refuses to delete the record a#f1 from media-model-v1-8 \(.+\)"):
        destination.apply(without)
    with pytest.raises(DestinationError):
        destination.remove("ads", ["a"])
    sandbox.faults.clear()
    assert destination.known("ads", ["a"]) == {}
    destination.apply(without)
    assert stored_ids(sandbox) == {"a#f2"}


@pytest.mark.long
def test_a_feature_that_is_refused_under_another_modality_is_still_held_under_its_earlier_one(
    sandbox: Sandbox, open_pinecone: Open
) -> None:
    destination = open_pinecone()
    text = feature("f1", modality=Modality.TEXT)
    destination.apply(batch(asset("a", text)))
    sandbox.faults.add(Fault(route="pinecone.upsert", do=REFUSED))
    video = feature("f1", {"model-v1": dense(3)})
    destination.apply(batch(asset("a", video, fingerprint="2"), modalities=[Modality.VIDEO]))
    sandbox.faults.clear()
    assert stored_ids(sandbox) == {"a#f1"}
    assert list(destination.discrepancies("ads")) == []
    destination.apply(batch(asset("a", video, fingerprint="3"), modalities=[Modality.VIDEO]))
    assert sandbox.pinecone.records(MODEL, "ads")["a#f1"]["metadata"]["modality"] == "video"
    assert list(destination.discrepancies("ads")) == []


@pytest.mark.long
def test_what_a_killed_run_left_of_a_feature_is_certain_under_its_new_modality(
    sandbox: Sandbox, open_pinecone: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patches:
        patches.setattr(Manifest, "confirm", killed)
        with pytest.raises(Killed):
            open_pinecone().apply(batch(asset("a", feature("f1", {"old": dense(1)}, modality=Modality.TEXT))))
    assert stored_ids(sandbox, "media-old-8") == {"a#f1"}
    destination = open_pinecone()
    destination.apply(batch(asset("a", feature("f1", {"new": dense(1)})), modalities=[Modality.VIDEO]))
    assert stored_ids(sandbox, "media-old-8") == set()
    assert destination.known("ads", ["a"]).keys() == {"a"}


@pytest.mark.long
def test_what_a_killed_run_left_of_a_feature_that_is_bad_now_stays_in_the_journal(
    sandbox: Sandbox, open_pinecone: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise Killed

    open_pinecone().apply(in_two_indexes(1, "1"))
    with monkeypatch.context() as patches:
        patches.setattr(Manifest, "confirm", killed)
        with pytest.raises(Killed):
            open_pinecone().apply(in_two_indexes(2, "2"))
    destination = open_pinecone()
    bad = Rejected("a", Reason.NOT_FINITE, "infinity", "f1", "video")
    (record,) = destination.apply(
        batch(asset("a", in_two_indexes(2, "3").assets[0].features[1], rejected=[bad]))
    ).rejected
    assert record.kept
    assert stored_ids(sandbox) == {"a#f1", "a#f2"}
    assert destination.known("ads", ["a"]) == {}, "which version it is, the next run finds out"
    assert list(destination.discrepancies("ads")) == []
    destination.apply(in_two_indexes(3, "4"))
    assert destination.known("ads", ["a"])["a"].fingerprint == "4"
    assert list(destination.discrepancies("ads")) == []
