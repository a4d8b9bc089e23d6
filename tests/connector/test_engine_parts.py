"""The pure parts of a run: diff, guard, batches, seen ids."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorferry.connector._engine._mapper import MappedRecord
from vectorferry.connector._engine._opening import RareGarbage
from vectorferry.connector._engine.sync._diff import Action, diff
from vectorferry.connector._engine.sync._guard import check_deletes
from vectorferry.connector._engine.sync._lane import Batcher
from vectorferry.connector._model._mapping import ledger_fingerprint
from vectorferry.connector._model._seen import SeenIds
from vectorferry.connector._model._storable import id_problem, unusable_ids
from vectorferry.connector.plugin import (
    MODALITIES,
    AssetState,
    Batch,
    BatchLimits,
    DeleteGuard,
    GuardRefusedError,
    Known,
    Listing,
    MappedAsset,
    Modality,
    Reason,
    Rejected,
)

ALL = frozenset(MODALITIES)
VIDEO = frozenset({Modality.VIDEO})


def known(fingerprint: str, modalities: frozenset[Modality] = ALL, digest: str = "m", turn: str = "") -> Known:
    return Known(ledger_fingerprint(fingerprint, digest, turn), modalities)


@pytest.mark.parametrize(
    ("entry", "wanted", "action"),
    [
        (None, ALL, Action.PULL),
        (known("v1"), ALL, Action.KEEP),
        (known("v0"), ALL, Action.PULL),
        (known("v1", digest="other mapping"), ALL, Action.PULL),
        (known("v1", VIDEO), ALL, Action.PULL),
        (known("v1", VIDEO), VIDEO, Action.KEEP),
    ],
)
def test_an_asset_is_pulled_unless_the_ledger_has_it_as_it_is(
    entry: Known | None, wanted: frozenset[Modality], action: Action
) -> None:
    ledger = {"a": entry} if entry else {}
    (decision,) = diff([Listing("a", "v1")], {"store": ledger}, "m", wanted)
    assert decision.action is action
    assert decision.lacking == (frozenset({"store"}) if action is Action.PULL else frozenset())


@pytest.mark.parametrize(
    ("entry", "reread"),
    [
        (known("v1", turn="7"), True),
        (known("v1"), True),
        (known("v0", turn="7"), False),
        (known("v1", turn="7", digest="other mapping"), False),
        (known("v1", VIDEO, turn="7"), False),
        (Known("", ALL), False),
    ],
)
def test_what_is_read_only_because_its_turn_has_come_is_told_apart(entry: Known, reread: bool) -> None:
    (decision,) = diff([Listing("a", "v1", turn="8")], {"store": {"a": entry}}, "m", ALL)
    assert (decision.action, decision.reread) == (Action.PULL, frozenset({"store"}) if reread else frozenset())
    (decision,) = diff([Listing("a", "v1", turn="8")], {"store": {"a": known("v1", turn="8")}}, "m", ALL)
    assert (decision.action, decision.reread) == (Action.KEEP, frozenset())


listings = st.lists(
    st.builds(Listing, st.sampled_from("abcdefgh"), st.sampled_from(["v1", "v2"]), st.sampled_from(AssetState)),
    unique_by=lambda listing: listing.asset_id,
)
ledgers = st.dictionaries(
    st.sampled_from("abcdefgh"), st.builds(known, st.sampled_from(["v1", "v2"]), st.sampled_from([ALL, VIDEO]))
)


@given(page=listings, stores=st.dictionaries(st.sampled_from("xyz"), ledgers), wanted=st.sampled_from([ALL, VIDEO]))
def test_each_listing_gets_one_action_and_only_what_a_store_lacks_is_pulled(
    page: list[Listing], stores: dict[str, dict[str, Known]], wanted: frozenset[Modality]
) -> None:
    decisions = diff(page, stores, "m", wanted)
    assert [decision.listing for decision in decisions] == page
    for decision in decisions:
        asset_id, fingerprint, state = (getattr(decision.listing, n) for n in ("asset_id", "fingerprint", "state"))
        if state is not AssetState.READY:
            assert decision.action is {AssetState.PENDING: Action.WAIT, AssetState.FAILED: Action.SKIP}[state]
            assert not decision.lacking
            continue
        assert (decision.action is Action.PULL) == bool(decision.lacking)
        for name, ledger in stores.items():
            entry = ledger.get(asset_id)
            has = entry and entry.fingerprint == known(fingerprint).fingerprint and wanted <= entry.modalities
            assert (name in decision.lacking) == (not has)


def test_exactly_the_share_may_go_and_one_more_may_not() -> None:
    check_deletes(DeleteGuard(max_share=0.29), stored=100, missing=29, listed=71)
    with pytest.raises(GuardRefusedError) as caught:
        check_deletes(DeleteGuard(max_share=0.29), stored=100, missing=30, listed=70)
    assert str(caught.value) == (
        "nothing was deleted: the source listed 70 assets, so 30 of 100 assets would go, and at most 29% may. "
        "If they are really gone, allow it once with --allow-deletes 0.3, or set deletes.max_share."
    )


def test_a_share_that_is_less_than_one_asset_says_so_and_what_allows_it() -> None:
    check_deletes(DeleteGuard(), stored=5, missing=1, listed=4)
    with pytest.raises(GuardRefusedError) as caught:
        check_deletes(DeleteGuard(), stored=4, missing=1, listed=3)
    assert str(caught.value) == (
        "nothing was deleted: the source listed 3 assets, so 1 of 4 assets would go, and at most 20% may, which is "
        "less than one of 4. If they are really gone, allow it once with --allow-deletes 1, or set deletes.max_share."
    )


def test_an_empty_listing_deletes_only_when_everything_may_go() -> None:
    with pytest.raises(GuardRefusedError, match=r"listed no asset at all, so 1 of 1 .* --allow-deletes 1,"):
        check_deletes(DeleteGuard(max_share=0.99), stored=1, missing=1, listed=0)
    check_deletes(DeleteGuard(max_share=1), stored=1, missing=1, listed=0)
    check_deletes(DeleteGuard(max_share=0), stored=0, missing=0, listed=0)


@given(
    share=st.decimals(0, 1, places=2).map(float),
    stored=st.integers(0, 10**7),
    gone=st.floats(0, 1),
    spare=st.integers(0, 9),
)
def test_the_guard_never_lets_more_than_the_share_go_and_its_advice_works(
    share: float, stored: int, gone: float, spare: int
) -> None:
    missing = int(stored * gone)
    listed = stored - missing + spare
    try:
        check_deletes(DeleteGuard(max_share=share), stored, missing, listed)
    except GuardRefusedError as error:
        assert 100 * missing > round(100 * share) * stored
        advised = float(str(error).split("--allow-deletes ")[1].split(",")[0])
        check_deletes(DeleteGuard(max_share=advised), stored, missing, listed)
    else:
        assert 100 * missing <= round(100 * share) * stored


def loaded(asset_id: str, rows: int, size: int, *, bad: bool = False) -> MappedRecord:
    record: MappedAsset | Rejected = Rejected(asset_id, Reason.UNREADABLE, "no answer")
    if not bad:
        record = MappedAsset(asset_id, "f", None, None, None, {}, {}, None, None, b"")
    return MappedRecord(record, rows, size)


@given(
    items=st.lists(
        st.builds(loaded, st.sampled_from("abcdefghij"), st.integers(1, 12), st.integers(0, 1500), bad=st.booleans())
    ),
    rows=st.integers(1, 20),
)
def test_batches_keep_limits_and_lose_nothing(items: list[MappedRecord], rows: int) -> None:
    batcher = Batcher("c", ALL, BatchLimits(rows=rows, bytes=2000))
    batches = [batch for item in items if (batch := batcher.add(item))]
    last = batcher.flush()
    batches += [last] if last else []
    assert batcher.flush() is None
    weight = {id(item.record): item for item in items}
    newest: dict[str, int] = {}
    for batch in batches:
        records: list[MappedAsset | Rejected] = [*batch.assets, *batch.rejected]
        assert records
        ids = [record.asset_id for record in records]
        assert len(set(ids)) == len(ids)
        assert [a.asset_id for a in batch.assets] == sorted(a.asset_id for a in batch.assets)
        if len(records) > 1:
            assert sum(weight[id(r)].rows for r in records) <= rows
            assert sum(weight[id(r)].bytes for r in records) <= 2000
        newest.update((record.asset_id, id(record)) for record in records)
    assert newest == {item.asset_id: id(item.record) for item in items}


def test_an_asset_that_comes_again_takes_the_room_of_its_older_self() -> None:
    batcher = Batcher("c", ALL, BatchLimits(rows=10))
    assert [batcher.add(loaded("a", 6, 1)) for _ in range(9)] == [None] * 9
    assert batcher.add(loaded("b", 4, 1)) is None


def test_a_batch_says_what_it_is_of() -> None:
    batcher = Batcher("c", VIDEO, BatchLimits())
    batcher.add(loaded("b", 1, 1))
    batcher.add(loaded("a", 1, 1))
    batcher.add(loaded("x", 1, 1, bad=True))
    batch = batcher.flush()
    assert isinstance(batch, Batch)
    assert (batch.collection, batch.modalities) == ("c", VIDEO)
    assert [a.asset_id for a in batch.assets] == ["a", "b"]
    assert [r.asset_id for r in batch.rejected] == ["x"]


@given(pages=st.lists(st.lists(st.text(max_size=3), max_size=30), max_size=12), others=st.lists(st.text(max_size=3)))
def test_seen_ids_are_a_set(pages: list[list[str]], others: list[str]) -> None:
    seen, model = SeenIds(), set[str]()
    for page in pages:
        for name, new in zip(page, seen.add(page), strict=True):
            assert new == (name not in model)
            model.add(name)
    assert len(seen) == len(model)
    assert seen.missing(others) == [name for name in others if name not in model]


@given(ids=st.lists(st.sampled_from(["", "a", "é", "\0", "\ud800", "x" * 512, "x" * 513, "é" * 257]), max_size=6))
def test_ids_are_looked_at_together_as_they_are_one_by_one(ids: list[str]) -> None:
    assert unusable_ids(ids) == {each for each in ids if id_problem(each)}


def test_a_slow_source_does_not_keep_what_was_read_waiting() -> None:
    batcher = Batcher("c", ALL, BatchLimits(seconds=0))
    assert batcher.add(loaded("a", 1, 1)) is None
    first = batcher.add(loaded("b", 1, 1))
    assert first is not None
    assert [each.asset_id for each in first.assets] == ["a"]


@pytest.mark.parametrize(("before", "during"), [(700, 50_000), (90_000, 90_000), (0, 0)])
def test_garbage_is_looked_for_as_before_once_the_last_run_has_ended(before: int, during: int) -> None:
    rare, own = RareGarbage(50_000), gc.get_threshold()
    try:
        gc.set_threshold(before, *own[1:])
        with rare, pytest.raises(KeyError), rare:
            raise KeyError
        with rare:
            with rare:
                pass
            assert gc.get_threshold() == (during, *own[1:])
        assert gc.get_threshold() == (before, *own[1:])
    finally:
        gc.set_threshold(*own)
