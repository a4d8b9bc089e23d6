"""Typed columns: paths, and values that fit or do not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorferry.connector._model._mapping import ColumnType
from vectorferry.connector._model._rows import coerce, look_up, short

FIELDS = {"metadata": {"author": "Ann", "tags": ["a", {"name": "b"}], "0": "zero"}, "count": 3}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("count", 3),
        ("metadata.author", "Ann"),
        ("metadata.tags.1.name", "b"),
        ("metadata.0", "zero"),
        ("metadata.tags.7", None),
        ("metadata.tags.²", None),
        ("metadata.tags.-1", None),
        ("metadata.author.0", None),
        ("nothing.here", None),
    ],
)
def test_a_path_leads_through_objects_and_lists(path: str, value: Any) -> None:
    assert look_up(FIELDS, path.split(".")) == value


@pytest.mark.parametrize(
    ("kind", "value", "column"),
    [
        ("text", "as it is", "as it is"),
        ("text", 1.5, "1.5"),
        ("text", 12, "12"),
        ("text", True, "true"),
        ("text", {"b": [1], "a": None}, '{"a":null,"b":[1]}'),
        ("integer", -(2**31), -(2**31)),
        ("integer", 4.0, 4),
        ("bigint", 2**63 - 1, 2**63 - 1),
        ("double precision", 2, 2.0),
        ("boolean", False, False),
        ("jsonb", [1, {"a": "b"}], [1, {"a": "b"}]),
        ("timestamptz", "2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("timestamptz", "2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("timestamptz", "2026-01-02T03:04:05+02:00", datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)),
        (
            "timestamptz",
            datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=3))),
            datetime(2026, 1, 2, tzinfo=UTC),
        ),
    ],
)
def test_a_value_that_fits_becomes_the_columns_type(kind: ColumnType, value: Any, column: Any) -> None:
    coerced = coerce(value, kind)
    assert (coerced, type(coerced)) == (column, type(column))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("integer", 2**31),
        ("integer", True),
        ("integer", 1.5),
        ("integer", "12"),
        ("integer", float("nan")),
        ("integer", float("inf")),
        ("bigint", 2**63),
        ("double precision", float("inf")),
        pytest.param("double precision", 10**400, id="beyond double"),
        ("double precision", False),
        ("boolean", "true"),
        ("boolean", 1),
        ("timestamptz", "yesterday"),
        ("timestamptz", 1_700_000_000),
        ("timestamptz", "0001-01-01T00:00:00+23:00"),
        pytest.param("text", 10**5000, id="a number of 5,001 digits"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(kind: ColumnType, value: Any) -> None:
    with pytest.raises(ValueError):
        coerce(value, kind)


@given(value=JSON, kind=st.sampled_from(get_args(ColumnType)))
def test_any_json_value_either_fits_or_is_refused_and_can_be_told_of(value: Any, kind: ColumnType) -> None:
    try:
        first = coerce(value, kind)
    except ValueError:
        assert len(short(value)) < 100
    else:
        assert repr(coerce(first, kind)) == repr(first)


@given(value=st.integers() | st.floats() | st.text() | st.binary())
def test_the_words_about_a_value_are_short(value: Any) -> None:
    assert len(short(value)) <= 60
    assert len(short("x" * 10_000)) == 60
    assert short(10**5000) == "a very large number"
