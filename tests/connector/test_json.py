"""JSON from outside: what is read, what is refused, and one spelling for equal values."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorferry.connector._model._json import canonical_json, is_too_deep, parse_json

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def test_nan_and_infinities_are_read() -> None:
    nan, infinity, minus = parse_json(b"[NaN, Infinity, -Infinity]")
    assert math.isnan(nan)
    assert (infinity, minus) == (math.inf, -math.inf)


def test_lone_surrogates_are_read() -> None:
    assert parse_json(b'"a\\ud800b"') == "a\ud800b"


@pytest.mark.parametrize(
    "body", [b"", b"<html>Bad gateway</html>", b'{"results": [1, 2', b'"\xff\xfe', b"[" * 200_000, b"1" * 10_000 + b"x"]
)
def test_anything_but_one_whole_value_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        parse_json(body)


@pytest.mark.parametrize("number", [2**64, 10**29, -(2**63) - 1, 2**64 - 1, -(2**63)])
@pytest.mark.parametrize("around", ["{}", "[1, {}]", "[{}, 0.5]", '{{"a": [{{"b": {}}}]}}'])
def test_integers_keep_all_their_digits(number: int, around: str) -> None:
    text = around.format(number)
    assert parse_json(text.encode()) == json.loads(text)
    assert str(number) in repr(parse_json(text.encode()))


def test_a_number_with_more_digits_than_can_be_read_is_rounded_and_spoils_nothing() -> None:
    assert parse_json(b'{"a": 1' + b"0" * 5_000 + b', "b": 1}') == {"a": math.inf, "b": 1}


def test_how_deep_is_too_deep() -> None:
    value: Any = 1
    for level in range(100):
        value = [value] if level % 2 else {"k": value}
    assert not is_too_deep(value)
    assert is_too_deep([value])
    assert is_too_deep({"near": 1, "far": value})


@given(values)
def test_order_of_keys_does_not_matter(value: Any) -> None:
    assert canonical_json(_reversed(value)) == canonical_json(value)


def test_integers_beyond_64_bits_and_lone_surrogates_have_a_spelling() -> None:
    assert canonical_json({"b": 2**70, "a": "\ud800"}) == b'{"a":"\\ud800","b":1180591620717411303424}'


def test_nesting_too_deep_is_a_value_error() -> None:
    value: Any = "\ud800"
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="deep"):
        canonical_json(value)


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _reversed(value[key]) for key in reversed(value)}
    return [_reversed(item) for item in value] if isinstance(value, list) else value


def test_values_that_json_does_not_have_become_null_however_they_are_written() -> None:
    assert canonical_json({"a": float("nan"), "b": 2**70}) == b'{"a":null,"b":1180591620717411303424}'
    assert canonical_json({"a": float("inf")}) == b'{"a":null}'
