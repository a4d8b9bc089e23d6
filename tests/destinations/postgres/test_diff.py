"""The diff of one table is right for any two states, and what a batch wants comes in the order of keys."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.builders import asset, batch, dense, feature
from vectorferry.destinations._postgres import diff_table
from vectorferry.destinations.pgvector._rows import batch_rows

keys = st.tuples(st.text(max_size=3), st.text(max_size=3))
states = st.dictionaries(keys, st.binary(max_size=1), max_size=12)


@given(states, states)
def test_applying_the_diff_leaves_what_is_wanted(
    wanted: dict[tuple[str, str], bytes], held: dict[tuple[str, str], bytes]
) -> None:
    diff = diff_table({key: (digest, (key, digest)) for key, digest in wanted.items()}, held)
    after = {key: digest for key, digest in held.items() if key not in diff.delete}
    after.update([*diff.insert, *diff.update])
    assert after == wanted
    assert diff.unchanged == len(wanted.items() & held.items())


@given(states, states)
def test_rows_are_visited_in_key_order(
    wanted: dict[tuple[str, str], bytes], held: dict[tuple[str, str], bytes]
) -> None:
    diff = diff_table({key: (digest, (key,)) for key, digest in wanted.items()}, held)
    for rows in (diff.insert, diff.update):
        assert rows == sorted(rows)
    assert diff.delete == sorted(diff.delete)


@given(st.permutations("abc"), st.permutations("defg"))
def test_a_batch_is_laid_out_in_key_order(asset_ids: list[str], feature_ids: list[str]) -> None:
    """The first rows of a table are sent as they are laid out, and never sorted by a diff."""
    features = [feature(name, {"model": dense(0.5), "other": dense(1)}) for name in feature_ids]
    rows = batch_rows(batch(*(asset(name, *features) for name in asset_ids)))
    tables = [*rows.features.values(), *rows.vectors.values()]
    assert len(tables) == 3
    for some in tables:
        keys = [(asset_id, one.feature_id) for asset_id, one in some]
        assert keys == [(asset_id, feature_id) for asset_id in "abc" for feature_id in "defg"]
