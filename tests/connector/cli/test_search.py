from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.connector.cli.conftest import Invoke
from tests.connector.cli.plugins import Box, Shop
from vectorferry.connector.plugin import Modality, RetrieverQuery, SearchQuery, SourceQuery, SparseVector


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
    lines = result.stdout.splitlines()
    first = next(place for place, line in enumerate(lines) if "0.1250" in line)
    assert "a surfer �[31mrides [bold]a wave" in lines[first]
    assert lines[first + 1].split() == ["ready-0-segment", "4–6.5", "s"]
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


def in_the_shop(more: str = "", box: str = "") -> None:
    Path("vectorferry.yaml").write_text(
        f'name: media\nsource: {{type: shop, api_key: "${{SHELF_KEY}}", {more}}}\n'
        f"destinations: [{{type: box, {box}}}]\n"
    )


@pytest.fixture
def shop(vectorferry: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two assets of three scenes each, synced."""
    monkeypatch.setenv("SHELF_KEY", "any")
    monkeypatch.setattr(Shop, "asked", [])
    in_the_shop()
    assert vectorferry("sync").exit_code == 0


@pytest.mark.usefixtures("shop")
def test_the_source_is_asked_and_its_hits_are_shown_with_our_rows(vectorferry: Invoke) -> None:
    result = vectorferry("search", "--text", "surfing", "--option", "visual", "--limit", "7")
    assert result.exit_code == 0, result.stderr
    assert Shop.asked == [("films", SourceQuery("surfing", 7, ["visual"]))]
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "with the features that box holds of them" in lines
    first = lines.index("1 a surfer �[31mrides ready-1")
    assert lines[first + 1] == "ready-1-3 4–6 s"
    assert lines[lines.index("2 ready-0") + 1] == "no feature at that time"
    assert lines[lines.index("3 not-synced") + 1] == "not synced 0.5–2.2 s"
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.usefixtures("shop")
def test_json_has_the_hits_with_the_stored_columns(vectorferry: Invoke) -> None:
    told = json.loads(vectorferry("search", "--text", "surfing", "--json").stdout)
    assert (told["collection"], told["destination"], told["note"]) == ("films", "box", None)
    first, second, third = told["hits"]
    assert (first["rank"], first["asset_id"], first["start"], first["end"]) == (1, "ready-1", 4.0, 6.0)
    assert first["asset"]["url"] == "https://shop.example/ready-1.mp4"
    assert [row["feature_id"] for row in first["rows"]] == ["ready-1-3", "ready-1-5"]
    assert (first["rows"][0]["modality"], first["rows"][0]["description"]) == ("video", "a wave")
    assert (second["asset"]["url"], second["rows"]) == ("https://shop.example/ready-0.mp4", [])
    assert (third["asset"], third["rows"]) == (None, [])


@pytest.mark.usefixtures("shop")
def test_hits_are_shown_also_where_no_destination_can_tell_what_it_holds(vectorferry: Invoke) -> None:
    for box, told in (("sealed: true", "no destination of this sync can say"), ("reachable: false", "is it up?")):
        in_the_shop(box=box)
        result = vectorferry("search", "--text", "surfing")
        assert result.exit_code == 0, result.stderr
        assert told in result.stdout
        assert "ready-1" in result.stdout
        assert "not synced" not in result.stdout


def test_a_source_without_a_search_says_so(vectorferry: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELF_KEY", "any")
    result = vectorferry("search", "--text", "surfing")
    assert result.exit_code == 2
    assert "this source has no search of its own" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--text", "a", "--like", "b"),
        ("--text", "a", "--vector", "q.json"),
        ("--text", "a", "--filter", "b"),
        ("--text", "a", "--vector-name", "b"),
        ("--text", " "),
        ("--like", "a", "--option", "visual"),
        ("--like", "a", "--collection", "films"),
        ("--text", "a", "--retriever", "b"),
        ("--retriever", "a", "--stages", "b.yaml"),
        ("--retriever", "a", "--option", "b"),
        ("--retriever", "a", "--inputs", "b"),
        ("--text", "a", "--inputs", "b=c"),
    ],
)
def test_ways_of_searching_are_not_mixed(vectorferry: Invoke, arguments: tuple[str, ...]) -> None:
    assert vectorferry("search", *arguments).exit_code == 2


@pytest.mark.usefixtures("shop")
def test_a_retriever_is_asked_and_its_hits_are_the_very_features(
    vectorferry: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Shop, "retrieved", [])
    given = ("--inputs", '{"qv": [0.5, 1]}', "--inputs", "words=a dog", "--filter", "brand=Acme", "--limit", "2")
    told = json.loads(vectorferry("search", "--retriever", "by-vector", *given, "--json").stdout)
    asked = RetrieverQuery("by-vector", inputs={"qv": [0.5, 1], "words": "a dog"}, limit=2, filters={"brand": "Acme"})
    assert Shop.retrieved == [("films", asked)]
    first, second = told["hits"]
    assert [row["feature_id"] for row in first["rows"]] == ["ready-1-3"]
    # The same id in another collection is another asset.
    assert (second["collection"], second["asset"], second["rows"]) == ("elsewhere", None, [])


@pytest.mark.usefixtures("shop")
def test_the_stages_of_a_retriever_come_from_a_file(vectorferry: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shop, "retrieved", [])
    stage = {"stage_name": "near", "config": {"stage_id": "feature_search"}}
    Path("list.json").write_text(json.dumps([stage]))
    Path("whole.yaml").write_text("input_schema: {q: {type: text}}\nstages: " + json.dumps([stage]))
    for file, schema in (("list.json", {}), ("whole.yaml", {"q": {"type": "text"}})):
        assert vectorferry("search", "--stages", file, "--inputs", "q=dog").exit_code == 0
        assert Shop.retrieved[-1] == ("films", RetrieverQuery("", [stage], schema, {"q": "dog"}))


@pytest.mark.parametrize(
    "content", ["", "a: b", "[]", "- 7", "- {config: {}}", "stages: []", "stages: [{stage_name: a}]\ninput_schema: 7"]
)
def test_a_file_without_stages_is_bad_usage(vectorferry: Invoke, content: str) -> None:
    Path("stages.yaml").write_text(content)
    result = vectorferry("search", "--stages", "stages.yaml")
    assert result.exit_code == 2
    assert "stages.yaml: should be a list of stages" in result.stderr


def test_a_source_without_retrievers_says_so(vectorferry: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELF_KEY", "any")
    result = vectorferry("search", "--retriever", "a")
    assert result.exit_code == 2
    assert "this source has no retrievers" in result.stderr
