"""Four generations of Pinecone's official SDK write to the sandbox, read it, and are refused by it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.referees.environments import referee_answers, referee_python
from vectorferry.connector.sandbox import Sandbox, running_sandbox

pytestmark = [pytest.mark.referee, pytest.mark.timeout(600)]

INSTALLED = "installed"


@pytest.fixture(scope="module", params=["7.3.0", "8.1.2", "9.1.0", INSTALLED])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def sandbox(version: str) -> Iterator[Sandbox]:  # noqa: ARG001 - what one release writes, another must not find
    with running_sandbox() as running:
        yield running


@pytest.fixture(scope="module")
def answers(version: str, sandbox: Sandbox) -> Any:
    python = Path(sys.executable) if version == INSTALLED else referee_python("pinecone", version)
    return referee_answers(python, "ask_pinecone.py", sandbox)


def test_indexes(answers: Any) -> None:
    common = {"metric": "dotproduct", "status": [True, "Ready"]}
    dense = {"name": "clips", "vector_type": "dense", "deletion_protection": "disabled", "tags": {"team": "media"}}
    sparse = {"name": "words", "vector_type": "sparse", "deletion_protection": "enabled", "tags": {}}
    assert (answers["missing"], answers["gone"]) == (False, ["done", False])
    assert (answers["made"], answers["made_sparse"]) == ({**common, **dense}, {**common, **sparse})
    assert answers["listed"] == ["clips", "words"]
    assert answers["tags"] == {"env": "test"}


def test_what_is_written_is_read_back(answers: Any) -> None:
    assert (answers["upserted"], answers["ids"]) == (250, 250)
    metadata = {"n": 1, "tags": ["x"], "even": False}
    assert answers["fetched"] == [pytest.approx([1.0, 0.1, 0.1, 0.2]), [[5], [0.25]], metadata]
    assert answers["merged"] == {"n": 2, "tags": ["x"], "even": True, "new": "y"}
    assert answers["prefixed"] == ["a#24", *(f"a#{n}" for n in range(240, 250))]
    assert answers["stats"] == [{"t": 250}, 250, 4, "dotproduct"]
    assert answers["namespaces"] == [["t", 250]]


def test_queries(answers: Any) -> None:
    assert answers["nearest"] == ["a#0", "a#1"]
    assert answers["like"] == ["a#249"]
    assert answers["mixed"] == ["a#1"]
    assert answers["sparse"] == [["w", 2.0]]


def test_deletes(answers: Any) -> None:
    assert answers["rest"] == [f"a#{n}" for n in range(10)]
    assert answers["last"] == ["a#0"]


def test_log_sequence_numbers_and_filters(answers: Any, version: str) -> None:
    if version == "7.3.0":
        assert "lsns" not in answers
    else:
        assert answers["lsns"] == [7, 7]
        assert answers["by_filter"] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize(
    ("name", "kinds", "words"),
    [
        ("taken", {"ConflictError", "PineconeApiException"}, "Resource already exists"),
        ("protected", {"ForbiddenError", "ForbiddenException"}, "Deletion protection is enabled"),
        ("no_index", {"NotFoundError", "NotFoundException"}, "Index clips not found"),
        ("no_namespace", {"NotFoundError", "NotFoundException"}, "Namespace not found"),
        ("wrong_key", {"UnauthorizedError", "UnauthorizedException"}, "Invalid API key"),
        ("bad_dimension", {"ApiError", "PineconeApiException"}, "dimension 1 does not match"),
        ("too_large", {"ApiError", "PineconeApiException"}, "exceeds the limit of 40960 bytes"),
    ],
)
def test_errors_are_typed(answers: Any, name: str, kinds: set[str], words: str) -> None:
    kind, message = answers[name]
    assert kind in kinds
    assert words in message
