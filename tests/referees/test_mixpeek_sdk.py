"""The official SDKs of Mixpeek's first generation read what the sandbox serves.

They check structure, types and required keys. They are blind to metadata and to every search answer, which they
parse into empty models; those are looked at over plain HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.referees.environments import referee_answers, referee_python, referee_reading
from tests.referees.scripts.asking import EXAMPLE_TEXT, EXAMPLE_TEXT_FEATURE, QUICKSTART_VIDEO, TASK
from vectorferry.connector._config._load import load_part
from vectorferry.connector.plugin import SubmitOptions
from vectorferry.connector.sandbox import Sandbox, embed_text, running_sandbox
from vectorferry.connector.sources.mixpeek._submit import FORMS, Form, Media
from vectorferry.connector.sources.mixpeek._submit_settings import MixpeekSubmitSettings

pytestmark = [pytest.mark.referee, pytest.mark.timeout(600)]

PREFIXES = {"0.15.2": "", "0.19.13": "/v1"}


@pytest.fixture(scope="module", params=list(PREFIXES))
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox() as running:
        yield running


@pytest.fixture(scope="module")
def answers(version: str, sandbox: Sandbox) -> Any:
    script = f"ask_mixpeek_{version.replace('.', '_')}.py"
    return referee_answers(referee_python("mixpeek", version), script, sandbox)


@pytest.fixture
def plain(version: str, sandbox: Sandbox) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {sandbox.api_key}"}
    with httpx.Client(base_url=f"{sandbox.url}{PREFIXES[version]}", headers=headers) as client:
        yield client


def test_namespaces_and_models(answers: Any) -> None:
    (namespace,) = answers["namespaces"]
    assert (namespace["namespace_id"], namespace["namespace_name"]) == ("ns_default", "default")
    assert answers["models"] == {
        "multimodal-v1": ["dense", 1408],
        "baai-bge-m3": ["dense", 1024],
        "splade-v3": ["sparse", None],
    }


def test_collections(answers: Any, plain: httpx.Client, version: str, sandbox: Sandbox) -> None:
    rows = answers["collections"]["rows"]
    assert [row["collection_id"] for row in rows] == ["quickstart", "product-shots"]
    assert all(row["collection_name"] is not None for row in rows)
    assert answers["collections"]["pagination"] == {
        "total": 4,
        "page": 1,
        "page_size": 2,
        "total_pages": 2,
        "next_page": f"{sandbox.url}{PREFIXES[version]}/collections?page=2&page_size=2",
        "previous_page": None,
    }
    assert answers["collection"] == "lectures"
    assert all(row["count"] > 0 for row in plain.get("/collections").json()["results"])


def test_a_page_of_assets(answers: Any, plain: httpx.Client) -> None:
    rows = answers["assets"]["rows"]
    assert len(rows) == 3
    assert answers["assets"]["pagination"]["page"] == 2
    for row in rows:
        for name in ("asset_id", "collection_id", "status", "modality", "task_id", "created_at", "updated_at", "url"):
            assert row[name] is not None
        assert plain.get(f"/assets/{row['asset_id']}").json()["metadata"]["author"]
    assert [row["created_at"] for row in rows] == sorted((row["created_at"] for row in rows), reverse=True)


def test_the_documented_asset(answers: Any) -> None:
    asset = answers["asset"]
    assert (asset["asset_id"], asset["collection_id"], asset["task_id"]) == (EXAMPLE_TEXT, "example", TASK)
    assert asset["updated_at"] == "2024-11-07 14:31:56.428000"
    assert asset["url"] is None


def test_an_asset_with_its_features(answers: Any, plain: httpx.Client) -> None:
    answer = answers["asset_features"]
    assert answer["asset_id"] == QUICKSTART_VIDEO
    assert answer["features"] == plain.get(f"/assets/{QUICKSTART_VIDEO}/features").json()["features"]
    assert len(answer["features"]["video"]) == 12
    assert all(segment["feature_id"] and segment["transcription"] for segment in answer["features"]["video"])


def test_a_feature_with_its_vectors(answers: Any, plain: httpx.Client) -> None:
    feature = answers["feature"]
    assert feature == plain.get(f"/features/{EXAMPLE_TEXT_FEATURE}?return_vectors=true").json()
    assert feature["vectors"]["multimodal-v1"] == pytest.approx(embed_text("two people inside a car").tolist())
    assert feature["vectors"]["splade-v3"]["indices"]
    assert "vectors" not in answers["plain_feature"]


def test_a_page_of_features(answers: Any) -> None:
    assert [row["feature_id"] for row in answers["features"]["rows"]] == [EXAMPLE_TEXT_FEATURE]
    assert answers["features"]["pagination"]["current_page"] == 1
    assert answers["features"]["pagination"]["total"] == 2


def test_search_and_embedding(answers: Any, plain: httpx.Client) -> None:
    assert answers["search"].startswith("SearchFeatures")
    assert (answers["dense"], answers["sparse"]) == (1408, 1)
    query = {"embedding_model": "multimodal", "type": "text", "value": "dog"}
    found = plain.post("/features/search", json={"queries": [query], "collections": ["quickstart"]}).json()["results"]
    assert "dog" in found[0]["description"].lower()


def test_tasks_health_and_submission(answers: Any) -> None:
    assert answers["task"] == {"task_id": TASK, "status": "DONE"}
    assert answers["submitted"] == "PROCESSING"
    assert answers["health"]


def test_what_only_one_release_can_ask(answers: Any, version: str) -> None:
    expected = {"0.15.2": ("filtered", {"audio"}), "0.19.13": ("unfinished", {"PROCESSING"})}
    name, values = expected[version]
    assert set(answers[name]) == values


def test_errors_are_typed(answers: Any) -> None:
    kinds = {name: answers[name] for name in ("unknown", "wrong_key", "wrong_namespace", "bad_page")}
    assert [kind for kind, _ in kinds.values()] == ["ErrorResponse"] * 3 + ["HTTPValidationError"]
    assert "NotFoundError" in kinds["unknown"][1]
    assert "status=401" in kinds["wrong_key"][1]
    assert "UnauthorizedError" in kinds["wrong_key"][1]
    assert "status=404" in kinds["wrong_namespace"][1]
    assert "greater than or equal to 1" in kinds["bad_page"][1]


# What we send: the SDKs' own models read it, and lose nothing of it but JSON of the user's own, which they never keep.

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
INGEST, INDEX, *_ = FORMS


def body(form: Form, name: str, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """What is sent for one of the documented files of settings, less some of its keys."""
    own = load_part(EXAMPLES / f"mixpeek-{name}.yaml", MixpeekSubmitSettings)
    settings = MixpeekSubmitSettings.model_validate(own.model_dump(exclude_unset=True, exclude=set(without)))
    media: Media = "image" if name == "image" else "video"
    options = SubmitOptions(metadata={"campaign": "spring"}, settings=settings)
    return form.body("quickstart", "https://media.example/a", media, options)


def without_own_json(value: Any) -> Any:
    if isinstance(value, list):
        return [without_own_json(each) for each in value]
    if not isinstance(value, dict):
        return value
    own = {"metadata", "response_shape"}
    own |= {"json_output"} if not {"response_shape", "prompt"} & set(value.get("json_output", ())) else set()
    return {key: {} if key in own else without_own_json(each) for key, each in value.items()}


def test_what_is_sent_to_ingest_is_what_its_models_declare(version: str) -> None:
    known_later = frozenset[str]() if version == "0.15.2" else frozenset({"field_name"})
    sent = {"video": body(INGEST, "video"), "image": body(INGEST, "image", frozenset({"percolate"}))}
    for part in sent["image"]["feature_extractors"]["embed"]:
        for key in known_later & part.keys():
            del part[key]
    if version != "0.15.2":
        for extractors in (*sent["video"]["feature_extractors"], sent["image"]["feature_extractors"]):
            del extractors["detect"]["faces"]
    read = referee_reading(referee_python("mixpeek", version), "check_mixpeek_bodies.py", sent)
    assert read == without_own_json(sent)


def test_what_is_sent_to_index_is_what_november_s_sdk_declares() -> None:
    sent = body(INDEX, "quickstart")
    assert sent.pop("prevent_duplicate") is True  # which came with a later release, as its notes say
    read = referee_reading(referee_python("mixpeek", "0.11.0"), "check_mixpeek_bodies.py", {"index": sent})
    assert read == {"index": sent}
