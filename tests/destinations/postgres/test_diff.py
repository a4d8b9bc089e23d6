"""The diff of one table is right for any two states."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vectorferry.destinations._postgres import diff_table

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
