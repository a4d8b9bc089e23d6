"""Which words are spoken between two times."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorferry.connector.sources.twelvelabs._features import Span, read_speech

TIMES = st.tuples(st.integers(0, 12), st.integers(0, 12)).map(sorted)


@given(st.lists(TIMES, max_size=8), TIMES)
def test_words_within_a_span_are_those_of_every_entry_that_overlaps_it(
    spoken: list[list[int]], span: list[int]
) -> None:
    rows = [{"start": start, "end": end, "value": f"{start}-{end}"} for start, end in spoken]
    first, last = span
    wanted = sorted({(start, end) for start, end in spoken if start < last and end > first})
    assert read_speech(rows).within(Span(first, last)) == (" ".join(f"{one}-{other}" for one, other in wanted) or None)


@pytest.mark.parametrize("raw", [None, [], {"data": None}, {"data": []}])
def test_silence_has_many_spellings(raw: Any) -> None:
    speech = read_speech(raw)
    assert (speech.entries, speech.unusable, speech.within(Span(0, 10))) == ([], 0, None)


@pytest.mark.parametrize(
    "row",
    [
        None,
        "word",
        {},
        {"start": 0, "end": 1},
        {"start": "0", "end": 1, "value": "a"},
        {"start": True, "end": 1, "value": "a"},
        {"start": 0, "end": float("nan"), "value": "a"},
        {"start": 0, "end": 10**400, "value": "a"},
        {"start": 0, "end": 1, "value": 7},
    ],
)
def test_an_entry_that_is_none_is_counted_and_harms_no_other(row: Any) -> None:
    speech = read_speech([row, {"start": 1, "end": 2, "value": "b", "speaker": "x"}])
    assert [(entry.span, entry.text, entry.fields) for entry in speech.entries] == [(Span(1, 2), "b", {"speaker": "x"})]
    assert speech.unusable == 1


@pytest.mark.parametrize("raw", ["words", 7, {}, {"data": "words"}])
def test_what_is_no_list_is_no_transcription(raw: Any) -> None:
    with pytest.raises(ValueError, match="not a list"):
        read_speech(raw)
