"""TwelveLabs' official SDK reads what the sandbox serves.

It takes nearly every field as optional, so that a name that is wrong gives None in silence: values that matter are
looked at one by one. It never looks at `page_info`, which is looked at over plain HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.referees.environments import referee_answers, referee_python
from vectorferry.connector.sandbox import Sandbox, SandboxSettings, TwelveLabsDialect, running_sandbox

pytestmark = [pytest.mark.referee, pytest.mark.timeout(600)]

SCRIPT = "ask_twelvelabs_1_3_6.py"
OPTIONS = ("visual", "audio", "transcription")
UNUSUAL = TwelveLabsDialect(
    null_data=True,
    expires_at=True,
    date_digits=0,
    transcription="words",
    segment_order="shuffled",
    whole_asset="asset",
    shared_tasks=True,
    requests_per_day=10_000,
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox() as running:
        yield running


@pytest.fixture(scope="module")
def answers(sandbox: Sandbox) -> Any:
    return referee_answers(referee_python("twelvelabs", "1.3.6"), SCRIPT, sandbox)


@pytest.fixture
def plain(sandbox: Sandbox, answers: Any) -> Iterator[httpx.Client]:  # noqa: ARG001 - it shows what the SDK was shown
    with httpx.Client(base_url=sandbox.twelvelabs_url, headers={"x-api-key": sandbox.api_key}) as client:
        yield client


def _nothing_is_missing(rows: list[dict[str, Any]]) -> None:
    assert rows
    assert [name for row in rows for name, value in row.items() if value is None] == []


def test_indexes(answers: Any, plain: httpx.Client) -> None:
    _nothing_is_missing(answers["indexes"])
    assert answers["models"] == [
        ["archive", "marengo2.7", ["visual", "audio"]],
        ["films", "marengo3.0", ["visual", "audio"]],
        ["lectures", "marengo3.0", ["visual", "audio"]],
    ]
    assert answers["index"] == "films"
    assert plain.get("/indexes", params={"page_limit": 2}).json()["page_info"] == {
        "limit_per_page": 2,
        "page": 1,
        "total_page": 2,
        "total_results": 3,
    }


def test_indexed_assets(answers: Any) -> None:
    _nothing_is_missing(answers["indexed_assets"])
    created = [row["created_at"] for row in answers["indexed_assets"]]
    assert (len(created), created) == (74, sorted(created))
    assert answers["ready"]
    assert 0 < answers["long"] < 74
    assert answers["by_metadata"] == 8


def test_the_end_of_a_list(answers: Any, plain: httpx.Client) -> None:
    assert answers["pages"] == [74, 3]
    assert answers["no_rows"] == [0, 2]
    assert answers["no_entities"] == [0, 2]
    empty = plain.get("/indexes", params={"index_name": "nothing", "page": 2}).json()
    assert empty == {"data": [], "page_info": {"limit_per_page": 10, "page": 2, "total_page": 0, "total_results": 0}}


@pytest.mark.parametrize("name", ["detail", "video"])
def test_all_of_an_asset(answers: Any, name: str) -> None:
    found = answers[name]
    _nothing_is_missing([found["file"], found["hls"], *found["segments"], *found["transcription"]])
    assert found["model_name"] == "marengo3.0"
    assert [(one["embedding_option"], one["length"]) for one in found["segments"]] == [
        (option, 512) for option in OPTIONS for _ in range(6)
    ]
    assert found["transcription"][0]["value"] == "Wait for it. Wait. And go!"
    assert found["user_metadata"]["tags"] == ["dog", "sport", "outdoor"]
    expected = (found["asset_id"], found["status"])
    assert expected == (None, None) if name == "video" else None not in expected


def test_nothing_comes_that_was_not_asked_for(answers: Any) -> None:
    assert answers["plain"] == {"embedding": None, "transcription": None, "status": "ready"}


def test_uploads_and_where_they_are(answers: Any) -> None:
    assert [name for _, name in answers["by_asset"]] == ["films", "archive"]
    _nothing_is_missing([answers["upload"], *answers["uploads"]])
    assert {name: len(entries) > 5 for name, entries in answers["said"].items()} == {
        "words": True,
        "sentences": True,
        "utterances": True,
    }
    assert answers["videos"] == 68


def test_tasks(answers: Any) -> None:
    _nothing_is_missing([answers["task"], *answers["tasks"]])
    assert len(answers["tasks"]) == 74


def test_embedding_tasks(answers: Any) -> None:
    _nothing_is_missing([answers["embed_task_status"], *answers["embed_tasks"], *answers["embed_task"]])
    assert {row["status"] for row in answers["embed_tasks"]} == {"ready", "processing", "failed"}
    assert answers["embed_tasks_ever"] == [7, 4]
    assert {one["embedding_option"] for one in answers["embed_task"]} == set(OPTIONS)
    assert {one["embedding_scope"] for one in answers["embed_task"]} == {"clip", "video"}
    assert {one["length"] for one in answers["embed_task"]} == {512}
    assert {one["embedding_option"] for one in answers["embed_task_seen"]} == {"visual"}


def test_embedding_tasks_of_the_second_version(answers: Any) -> None:
    _nothing_is_missing([*answers["embed_v2_tasks"], *answers["embed_v2_task"]["data"]])
    task = answers["embed_v2_task"]
    assert {one["embedding_scope"] for one in task["data"]} == {"clip", "asset"}
    assert {one["length"] for one in task["data"]} == {512}
    _nothing_is_missing([task["metadata"]])
    assert answers["embed_v2_waits"] == {"data": None, "status": "processing", "error": None}
    assert answers["embed_v2_failed"]
    assert answers["embed_v2_created"]["status"] == "processing"
    assert answers["embedded"] == [512]


def test_entities(answers: Any) -> None:
    _nothing_is_missing([*answers["collections"], *answers["entities"]])
    assert {row["name"] for row in answers["collections"]} == {"people", "dogs", "empty"}


def test_search(answers: Any) -> None:
    _nothing_is_missing(answers["found"])
    assert len(answers["found"]) > 5
    assert [row["rank"] for row in answers["found"]] == list(range(1, len(answers["found"]) + 1))
    video, clips, metadata = answers["found_videos"][0]
    assert video
    assert clips > 1
    assert "dog" in metadata["tags"]


def test_what_is_submitted_moves_on(answers: Any) -> None:
    states = ["processing", "processing", "ready", "pending", "queued", "indexing", "ready"]
    assert answers["submitted"] == [*states, {"b": 2}]


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("missing_index", "BadRequestError", "resource_not_exist"),
        ("missing_asset", "NotFoundError", "resource_not_exist"),
        ("wrong_key", "ApiError", "api_key_invalid"),
        ("large_page", "BadRequestError", "parameter_invalid"),
    ],
)
def test_errors_are_typed(answers: Any, name: str, kind: str, code: str) -> None:
    raised, words = answers[name]
    assert raised == kind
    assert code in words


def test_what_the_documents_leave_open_is_read_too() -> None:
    with running_sandbox(SandboxSettings(twelvelabs=UNUSUAL)) as unusual:
        answers = referee_answers(referee_python("twelvelabs", "1.3.6"), SCRIPT, unusual)
    assert (answers["pages"], answers["no_rows"], answers["no_entities"]) == ([74, 3], [0, 2], [0, 2])
    segments = answers["detail"]["segments"]
    _nothing_is_missing([*segments, *answers["uploads"], *answers["indexed_assets"]])
    assert [one["embedding_scope"] for one in segments].count("asset") == 3
    seen = [one["start_offset_sec"] for one in segments if one["embedding_option"] == "visual"]
    assert seen != sorted(seen)
    assert [one["value"] for one in answers["detail"]["transcription"][:2]] == ["Wait", "for"]
    assert answers["indexes"][0]["created_at"] == "2025-05-06T08:00:00Z"
    assert answers["embed_tasks_ever"][0] >= 14
