"""Vectors cut out of an answer are the numbers that its JSON holds, and nothing else is touched."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorferry.connector._model._errors import QuarantineError
from vectorferry.connector._model._json import parse_json
from vectorferry.connector._model._records import Vector
from vectorferry.connector._model._vectors import decode_vector, vector_hash
from vectorferry.connector.sources._vectors import LiftedVectors, _Parser, _simdjson_parser, read_lifted

KEYS = ("float", "embedding")
NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-1000, 1000)
ANY_NUMBERS = st.floats() | st.integers(-(2**70), 2**70) | st.sampled_from([0, -0.0, 2**64, 1e308, 3.4028236e38])
PLAIN = st.none() | st.booleans() | NUMBERS | st.text('"\\float:[]{}, é', max_size=20)
ANYTHING = st.recursive(
    PLAIN | st.lists(NUMBERS, max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["float", "embedding", "a"]), inner),
    max_leaves=20,
)


def rows_of(answer: Any, vectors: LiftedVectors) -> list[tuple[dict[str, Any], Vector]]:
    """The rows of an answer without their vectors, and these."""
    return [({**row, "float": None}, vectors.take(row["float"])) for row in answer["rows"]]


@given(st.lists(st.lists(NUMBERS, min_size=1, max_size=5), max_size=5), ANYTHING, st.booleans())
def test_what_is_read_is_what_was_written(written: list[list[float]], metadata: Any, spaced: bool) -> None:
    answer = {"rows": [{"float": vector, "metadata": metadata} for vector in written], "metadata": metadata}
    body = json.dumps(answer, separators=None if spaced else (",", ":")).encode()
    rows = read_lifted(body, KEYS, rows_of)
    plain = parse_json(body)
    assert [row for row, _ in rows] == [{**row, "float": None} for row in plain["rows"]]
    for (_, vector), row in zip(rows, plain["rows"], strict=True):
        assert vector_hash(vector) == vector_hash(decode_vector(row["float"]))


@pytest.mark.parametrize("parser", [None, _simdjson_parser()], ids=["orjson", "simdjson"])
@given(st.lists(ANY_NUMBERS, min_size=1, max_size=5))
def test_either_parser_gives_the_same_bits(parser: Callable[[], Any] | None, numbers: list[float]) -> None:
    body = b'{"rows":[{"float":%s}]}' % json.dumps(numbers).encode()
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr("vectorferry.connector.sources._vectors._simdjson_parser", lambda: parser)
        patches.setattr("vectorferry.connector.sources._vectors._parser", _Parser())
        (read,) = read_lifted(body, KEYS, lambda answer, vectors: [_taken(vectors, answer["rows"][0]["float"])])
    assert read == _taken(LiftedVectors(), parse_json(body)["rows"][0]["float"])


def _taken(vectors: LiftedVectors, raw: Any) -> bytes | str:
    try:
        return vector_hash(vectors.take(raw))
    except QuarantineError as error:
        return f"{error.reason} {error}"


@pytest.mark.parametrize("numbers", [b"[1.0, NaN]", b"[1e99]", b"[]", b'["1"]', b"[true]", b"7", b"null"])
def test_what_is_no_vector_is_told_when_it_is_taken(numbers: bytes) -> None:
    good = read_lifted(b'{"rows":[{"float":[1]}]}', KEYS, rows_of)
    assert len(good) == 1
    with pytest.raises(QuarantineError):
        read_lifted(b'{"rows":[{"float":%s}]}' % numbers, KEYS, rows_of)


@pytest.mark.parametrize("body", [b"", b"{", b"<html>", b'{"rows":[{"float":[1.0,]}]}', b'{"rows":[{"float":[1.0'])
def test_what_is_no_json_is_none(body: bytes) -> None:
    with pytest.raises(ValueError):
        read_lifted(body, KEYS, rows_of)


def test_reading_takes_less_memory_than_the_answer() -> None:
    numbers = np.random.default_rng(1).standard_normal((300, 512)).astype(np.float32)
    body = orjson.dumps({"rows": [{"float": vector} for vector in numbers]}, option=orjson.OPT_SERIALIZE_NUMPY)
    hashes = [vector_hash(vector) for vector in numbers]

    def peak(read: Callable[[], list[tuple[dict[str, Any], Vector]]]) -> int:
        tracemalloc.start()
        rows = read()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert [vector_hash(vector) for _, vector in rows] == hashes
        return most

    lifted = peak(lambda: read_lifted(body, KEYS, rows_of))
    plain = peak(lambda: rows_of(parse_json(body), LiftedVectors()))
    assert lifted < len(body) < plain
