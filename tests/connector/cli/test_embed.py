"""`vectorferry embed`: the vector of a text, as SQL takes it, from the source's service or a local model."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.connector.cli.conftest import Invoke
from vectorferry.connector.sandbox._vectors import embed_sparse, embed_text


def sync_from(service: str) -> None:
    Path("vectorferry.yaml").write_text(
        f"name: media\nsource: {{type: sandbox, service: {service}}}\ndestinations: [{{type: pgvector}}]\n"
    )


def words(text: str) -> list[float]:
    """A model of two dimensions."""
    return [float(len(text)), 0.5]


def array(text: str) -> Any:
    """One as libraries give it."""
    return np.array(words(text), dtype=np.float64)


def nothing(text: str) -> Any:
    """None at all."""
    return None if text else []


def broken(text: str) -> list[float]:
    """One that does not work."""
    raise RuntimeError(f"no room for {len(text)}")


@pytest.fixture
def local_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a package had them."""
    models: list[Callable[[str], Any]] = [words, array, nothing, broken]
    points = [EntryPoint(each.__name__, f"{__name__}:{each.__name__}", "vectorferry.embedders") for each in models]

    def installed(group: str) -> EntryPoints:
        return EntryPoints(points) if group == "vectorferry.embedders" else entry_points(group=group)

    monkeypatch.setattr("vectorferry.connector._config._registry.entry_points", installed)


@pytest.mark.parametrize(
    ("service", "vector", "model"),
    [
        ("mixpeek", None, "multimodal-v1"),
        ("mixpeek", "baai-bge-m3", "baai-bge-m3"),
        ("twelvelabs", None, "marengo3.0"),
        ("twelvelabs", "marengo3.0-visual", "marengo3.0"),
    ],
)
def test_the_service_makes_it_by_the_model_of_a_named_vector(
    vectorferry: Invoke, service: str, vector: str | None, model: str
) -> None:
    sync_from(service)
    named = ["--vector", vector] if vector else []
    told = json.loads(vectorferry("embed", "--text", "a dog", "--json", *named).stdout)
    expected = embed_text("a dog", model)
    assert (told["model"], told["dimension"]) == (model, len(expected))
    assert np.array_equal(np.array(told["vector"], dtype=np.float32), expected)
    literal = vectorferry("embed", "--text", "a dog", *named).stdout.strip()
    assert np.array_equal(np.array(json.loads(literal), dtype=np.float32), expected)
    assert told["literal"] == literal


def test_a_sparse_one_is_a_sparsevec(vectorferry: Invoke) -> None:
    sync_from("mixpeek")
    (index,) = embed_sparse("dog").indices
    assert vectorferry("embed", "--text", "dog", "--vector", "splade-v3").stdout == f"{{{index + 1}:1.0}}/1000000000\n"


def test_a_service_that_makes_none_and_names_that_are_none_are_said(vectorferry: Invoke) -> None:
    sync_from("mixpeek-documents")
    refused = vectorferry("embed", "--text", "a dog")
    assert refused.exit_code == 2
    assert "makes no vectors of texts; --model asks a local one" in refused.stderr
    sync_from("twelvelabs")
    assert "--vector words: no model of TwelveLabs" in vectorferry("embed", "--text", "dog", "--vector", "words").stderr
    assert vectorferry("embed", "--text", " ").exit_code == 2
    assert vectorferry("embed", "--text", "dog", "--vector", "a", "--model", "b").exit_code == 2


@pytest.mark.usefixtures("local_models")
def test_a_local_model_is_a_plug_in_and_needs_no_sync(vectorferry: Invoke) -> None:
    assert vectorferry("embed", "--text", "a dog", "--model", "words").stdout == "[5.0,0.5]\n"
    assert vectorferry("embed", "--text", "a dog", "--model", "array").stdout == "[5.0,0.5]\n"
    assert "the embedder nothing gave no vector" in vectorferry("embed", "--text", "dog", "--model", "nothing").stderr
    failed = vectorferry("embed", "--text", "dog", "--model", "broken")
    assert failed.exit_code == 2
    assert "the embedder broken failed (RuntimeError: no room for 3)" in failed.stderr
    unknown = vectorferry("embed", "--text", "dog", "--model", "word")
    assert "unknown embedder type (installed: array, broken, nothing, words); did you mean words?" in unknown.stderr
