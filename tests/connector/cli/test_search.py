from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from connector import Modality, SearchQuery, SparseVector
from tests.connector.cli.conftest import Invoke
from tests.connector.cli.plugins import Box


@pytest.fixture(autouse=True)
def _configured(configured: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    configured()
    monkeypatch.delenv("SHELF_KEY")


def asked() -> SearchQuery:
    return Box.of("media").asked[-1]


def test_rows_and_statement_are_shown_and_no_source_key_is_needed(vectorferry: Invoke) -> None:
    result = vectorferry("search", "--like", "ready-1-segment", "--modality", "image", "--limit", "3")
    assert result.exit_code == 0, result.stderr
    query = asked()
    assert (query.modality, query.like, query.limit, query.vector) == (Modality.IMAGE, "ready-1-segment", 3, None)
    assert "SELECT * FROM video('[0.125,0.125,…]', 3)" in result.stdout
    row = next(line for line in result.stdout.splitlines() if "0.1250" in line)
    assert "4–6.5" in row
    assert "a surfer �[31mrides [bold]a wave" in row
    assert "ready-0-segment" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_json_holds_the_whole_statement_and_the_rows(vectorferry: Invoke) -> None:
    answer = json.loads(vectorferry("search", "--like", "x", "--json").stdout)
    assert answer["statement"].count("0.125") == 1408
    assert answer["rows"][0]["feature_id"] == "ready-0-segment"


def test_json_holds_values_that_orjson_cannot_write(vectorferry: Invoke) -> None:
    told = vectorferry("search", "--like", "huge", "--json")
    assert told.exit_code == 0, told.stderr
    extra = json.loads(told.stdout, parse_constant=pytest.fail)["rows"][0]["extra"]
    assert extra == {"n": 10**30, "distance": None, "half": "\ud800", "at": "2026-11-01T00:00:00+00:00"}


def test_a_dense_vector_comes_from_json_or_numpy(vectorferry: Invoke) -> None:
    Path("query.json").write_text("[1, 0.5, -2]")
    np.save("query.npy", np.array([1, 0.5, -2]))
    for file in ("query.json", "query.npy"):
        assert vectorferry("search", "--vector", file).exit_code == 0
        vector = asked().vector
        assert isinstance(vector, np.ndarray)
        assert vector.dtype == np.float32
        assert vector.tolist() == [1.0, 0.5, -2.0]


def test_a_sparse_vector_comes_from_json(vectorferry: Invoke) -> None:
    Path("query.json").write_text('{"indices": [7, 2], "values": [0.5, 1]}')
    assert vectorferry("search", "--vector", "query.json").exit_code == 0
    vector = asked().vector
    assert isinstance(vector, SparseVector)
    assert (vector.indices.tolist(), vector.values.tolist()) == ([2, 7], [1.0, 0.5])


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"[[1]]", b'["a"]', b"[1e999]", b"[true]", b'{"indices": [1], "values": []}', b"[" * 90_000],
)
def test_a_file_that_holds_no_vector_is_bad_usage(vectorferry: Invoke, content: bytes) -> None:
    for name in ("query.json", "query.npy"):
        Path(name).write_bytes(content)
        result = vectorferry("search", "--vector", name)
        assert result.exit_code == 2
        assert "give a JSON list of numbers" in result.stderr


def test_a_pickled_or_two_dimensional_array_is_refused(vectorferry: Invoke) -> None:
    np.save("matrix.npy", np.ones((2, 2)))
    np.save("pickled.npy", np.array([object()]), allow_pickle=True)
    for name in ("matrix.npy", "pickled.npy"):
        assert vectorferry("search", "--vector", name).exit_code == 2


def test_a_vector_file_that_is_missing_or_too_large_is_bad_usage(vectorferry: Invoke) -> None:
    assert "no.json: cannot be read" in vectorferry("search", "--vector", "no.json").stderr
    Path("large.json").write_bytes(b" " * 5_000_001)
    assert "large.json: larger than" in vectorferry("search", "--vector", "large.json").stderr


@pytest.mark.parametrize(
    ("given", "filters"),
    [
        (["author=ann"], {"author": "ann"}),
        (["year=2024", "public=true", 'zip="0123"'], {"year": 2024, "public": True, "zip": "0123"}),
        (['{"collection": ["a", "b"]}', "author=a=b"], {"collection": ["a", "b"], "author": "a=b"}),
    ],
)
def test_filters_are_pairs_or_json(vectorferry: Invoke, given: list[str], filters: dict[str, object]) -> None:
    options = [option for part in given for option in ("--filter", part)]
    assert vectorferry("search", "--like", "x", *options).exit_code == 0
    assert asked().filters == filters


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--like", "x", "--vector", "query.json"),
        ("--like", "x", "--filter", "author"),
        ("--like", "x", "--filter", "=ann"),
        ("--like", "x", "--filter", '{"author":'),
        ("--like", "x", "--limit", "0"),
        ("--like", "x", "--destination", "shelf"),
        ("--like", "nobody"),
    ],
)
def test_questions_that_cannot_be_asked_exit_with_2(vectorferry: Invoke, arguments: tuple[str, ...]) -> None:
    result = vectorferry("search", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_the_destination_is_chosen_by_its_type(vectorferry: Invoke) -> None:
    assert vectorferry("search", "--like", "x", "--destination", "box").exit_code == 0
    told = vectorferry("search", "--like", "x", "--destination", "pinecone")
    assert "vectorferry.yaml: no destination is called 'pinecone'; it has: box" in told.stderr
