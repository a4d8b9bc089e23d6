"""Whoever shows its quarantine tells all of it, drops what it is told to, and has assets read again; the destination in
memory is the model."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vectorferry.connector.plugin import (
    Batch,
    Capability,
    Counts,
    Destination,
    DestinationError,
    Modality,
    Reason,
    Rejected,
    SchemaMapping,
)
from vectorferry.connector.testing import MemoryDestination
from vectorferry.destinations._postgres import _books

from ..builders import asset, batch, feature
from ..examples import examples, family
from .conftest import NewPlace, Open


@pytest.fixture(params=family(["memory", "pgvector", "pinecone"], always=(0, 1)))
def place(request: pytest.FixtureRequest, new_place: NewPlace) -> Open:
    """Opens one of each kind, as often as the test likes; the first time it is empty."""
    return new_place(request.param)


@pytest.fixture
def holder(place: Open) -> Destination:
    """One of each kind, empty and prepared."""
    return prepared(place)


def prepared(place: Open) -> Destination:
    holder: Destination = place()
    holder.prepare(SchemaMapping())
    return holder


def refused(asset_id: str, feature_id: str, reason: Reason = Reason.REFUSED) -> Rejected:
    return Rejected(asset_id, reason, "too long", feature_id, "video")


def told(holder: Destination, collection: str | None = None) -> list[tuple[str, Rejected]]:
    return [(name, record) for name, record, _ in holder.rejected(collection)]


def test_it_is_one(holder: Destination) -> None:
    assert Capability.QUARANTINE in holder.capabilities


def test_an_empty_one_tells_nothing(holder: Destination) -> None:
    assert told(holder) == []
    assert holder.forget_rejected("ads", ["a"]) == 0
    assert holder.read_again("ads", ["a"]) == 0


def test_every_record_is_told_in_order_with_its_time(holder: Destination) -> None:
    before = datetime.now(UTC)
    records = [refused("a", "é"), refused("a", "f"), refused("a", "Z")]
    whole = Rejected("B", Reason.UNREADABLE, "500 “later”")
    holder.apply(batch(asset("a", feature("g"), rejected=records), rejected=[whole]))
    holder.apply(batch(asset("c", rejected=[refused("c", "h")]), collection="Films"))
    found = list(holder.rejected())
    assert [(name, record) for name, record, _ in found] == [
        ("Films", refused("c", "h")),
        ("ads", whole),
        *[("ads", record) for record in reversed(records)],
    ]
    assert all((seen - before).total_seconds() > -1 for _, _, seen in found)
    assert told(holder, "Films") == [("Films", refused("c", "h"))]
    assert told(holder, "other") == []


def test_a_record_that_is_set_aside_again_keeps_its_time(holder: Destination) -> None:
    same = batch(asset("a", rejected=[refused("a", "f")]))
    holder.apply(same)
    first = list(holder.rejected())
    holder.apply(same)
    assert list(holder.rejected()) == first


def test_dropping_drops_the_records_of_these_assets_and_nothing_else(holder: Destination) -> None:
    holder.apply(
        batch(
            *(asset(name, feature("g"), rejected=[refused(name, "f")]) for name in "abc"),
            rejected=[Rejected("d", Reason.UNREADABLE, "500")],
        )
    )
    holder.apply(batch(asset("a", rejected=[refused("a", "f")]), collection="films"))
    assert holder.forget_rejected("ads", ["a", "b", "d", "never there"]) == 3
    assert told(holder) == [("ads", refused("c", "f")), ("films", refused("a", "f"))]
    assert set(holder.known("ads", ["a", "b", "c"])) == {"a", "b", "c"}
    assert sorted(holder.asset_ids("ads")) == ["a", "b", "c"]


def test_whatever_changes_meanwhile_each_asset_that_stays_is_listed_once(
    holder: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the empty id too, which is in the quarantine for its id. Whoever prunes would delete, or keep, the
    others."""
    monkeypatch.setattr(_books, "_IDS_AT_ONCE", 2)
    nameless = Rejected("", Reason.BAD_ID, "it is empty")
    holder.apply(batch(*(asset(name, feature("g")) for name in "bdfhj"), rejected=[nameless]))
    listed = []
    for place, asset_id in enumerate(holder.asset_ids("ads")):
        listed.append(asset_id)
        if place == 0:
            holder.remove("ads", ["d"])
            holder.apply(batch(*(asset(name, feature("g")) for name in "aci")))
    assert [each for each in sorted(listed) if each not in "acdi" or not each] == ["", "b", "f", "h", "j"]
    assert len({*listed}) == len(listed)
    holder.remove("ads", [""])
    assert "" not in holder.asset_ids("ads")


def test_one_reason_alone_can_be_dropped(holder: Destination) -> None:
    holder.apply(batch(asset("a", rejected=[refused("a", "f"), refused("a", "g", Reason.DIMENSION)])))
    assert holder.forget_rejected("ads", ["a"], Reason.DIMENSION) == 1
    assert told(holder) == [("ads", refused("a", "f"))]


def test_an_asset_that_is_to_be_read_again_stays_as_it_is_until_it_was(holder: Destination) -> None:
    whole = asset("a", feature("g"), rejected=[refused("a", "f")])
    holder.apply(batch(whole, asset("b", feature("g"))))
    assert holder.read_again("ads", ["a", "never there"]) == 1
    known = holder.known("ads", ["a", "b"])
    assert {name: entry.fingerprint for name, entry in known.items()} == {"a": "", "b": "1"}
    assert holder.read_again("ads", ["a"]) == 0
    assert sorted(holder.asset_ids("ads")) == ["a", "b"]
    assert told(holder) == [("ads", refused("a", "f"))]
    applied = holder.apply(batch(asset("a", feature("g"), feature("f"))))
    assert (applied.assets, applied.features[Modality.VIDEO]) == (Counts(unchanged=1), Counts(inserted=1, unchanged=1))
    assert holder.known("ads", ["a"])["a"].fingerprint == "1"
    assert told(holder) == []


def test_an_asset_that_could_not_be_read_keeps_its_rows_and_is_read_again_whatever_is_listed(
    holder: Destination,
) -> None:
    holder.apply(batch(asset("a", feature("g"), rejected=[refused("a", "f")]), asset("b", feature("g"))))
    unread = Rejected("a", Reason.UNREADABLE, "500")
    for _ in range(2):
        holder.apply(batch(rejected=[unread]))
        assert {name: each.fingerprint for name, each in holder.known("ads", ["a", "b"]).items()} == {"a": "", "b": "1"}
        assert told(holder) == [("ads", replace(unread, kept=True))]
    applied = holder.apply(batch(asset("a", feature("g"), rejected=[refused("a", "f")])))
    assert applied.features[Modality.VIDEO] == Counts(unchanged=1, quarantined=1)
    assert told(holder) == [("ads", refused("a", "f"))]


def test_one_that_is_gone_when_it_should_have_been_read_again_is_removed_whole(holder: Destination) -> None:
    holder.apply(batch(asset("a", feature("g"), rejected=[refused("a", "f")])))
    holder.read_again("ads", ["a"])
    removed = holder.remove("ads", list(holder.asset_ids("ads")))
    assert removed.features[Modality.VIDEO].deleted == 1
    assert (told(holder), list(holder.asset_ids("ads"))) == ([], [])


def test_it_is_told_and_worked_off_without_being_prepared(place: Open) -> None:
    prepared(place).apply(batch(asset("a", rejected=[refused("a", "f")])))
    other: Destination = place()
    assert told(other) == [("ads", refused("a", "f"))]
    assert other.read_again("ads", ["a"]) == 1
    assert other.forget_rejected("ads", ["a"]) == 1


def test_more_records_than_are_fetched_at_once_are_all_told(holder: Destination) -> None:
    holder.apply(batch(rejected=[Rejected(f"{number:05}", Reason.UNREADABLE, "500") for number in range(2_500)]))
    stream = iter(holder.rejected("ads"))
    assert next(stream)[1].asset_id == "00000"
    assert sum(1 for _ in stream) == 2_499


@pytest.mark.parametrize("kind", ["pgvector", "pinecone"])
def test_one_that_was_never_synced_into_says_so(kind: str, new_place: NewPlace) -> None:
    holder: Destination = new_place(kind)()
    with pytest.raises(DestinationError, match="run `vectorferry sync` first"):
        list(holder.rejected())


NAMES = st.sampled_from(["a", "b", "é"])
RECORDS = st.builds(refused, st.just(""), st.sampled_from(["f", "F", "é"]), st.sampled_from(list(Reason)[:3]))
ASSETS = st.builds(
    lambda name, records: asset(name, rejected=[refused(name, each.feature_id, each.reason) for each in records]),
    NAMES,
    st.lists(RECORDS, max_size=3, unique_by=lambda one: one.feature_id),
)
STEPS = st.one_of(
    st.lists(ASSETS, max_size=3, unique_by=lambda one: one.asset_id).map(lambda assets: batch(*assets)),
    st.tuples(st.sampled_from(["drop", "again", "remove"]), st.lists(NAMES, min_size=1, unique=True)),
)


def carry_out(holder: Destination, step: Batch | tuple[str, list[str]]) -> object:
    if isinstance(step, Batch):
        return sorted(map(str, holder.apply(step).rejected))
    what, names = step
    match what:
        case "drop":
            return holder.forget_rejected("ads", names, Reason.NOT_FINITE)
        case "again":
            return holder.read_again("ads", names)
    return holder.remove("ads", names).assets


@pytest.mark.long
@pytest.mark.parametrize("kind", ["memory", "pgvector", "pinecone"])
@settings(max_examples=examples(4), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=6))
def test_any_history_leaves_what_it_leaves_in_memory(
    new_place: NewPlace, kind: str, steps: list[Batch | tuple[str, list[str]]]
) -> None:
    model = MemoryDestination()
    with closing(prepared(new_place(kind))) as holder:
        for step in steps:
            assert carry_out(holder, step) == carry_out(model, step)
        assert told(holder) == told(model)
        assert sorted(holder.asset_ids("ads")) == sorted(model.asset_ids("ads"))
