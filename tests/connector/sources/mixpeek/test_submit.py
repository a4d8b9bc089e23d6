"""Submitting to Mixpeek by URL: what is sent in each release of the API, and what comes of the task."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from tests.connector.http.serving import Server, serving
from tests.connector.sources.mixpeek.worlds import Answers, reading_sandbox, source_for
from vectorferry.connector._config._load import load_part
from vectorferry.connector.http import NotFoundError, UnsureError
from vectorferry.connector.plugin import ConfigurationError, Submission, SubmissionState, SubmitOptions
from vectorferry.connector.sandbox import Fault, MixpeekDialect, Reset, Sandbox, SandboxSettings, SetField, Status
from vectorferry.connector.sources.mixpeek import MixpeekSource
from vectorferry.connector.sources.mixpeek._submit import METADATA_STAYS
from vectorferry.connector.sources.mixpeek._submit_settings import MixpeekSubmitSettings

EXAMPLES = Path(__file__).parents[4] / "docs" / "examples"
FILM, PICTURE = "https://media.example/harbour-at-dawn.mp4?X-Amz-Signature=4711", "https://media.example/shoe.jpg"
INDEXING, READY, SKIPPED, FAILED = (SubmissionState(name) for name in ("indexing", "ready", "skipped", "failed"))


def example(name: str) -> MixpeekSubmitSettings:
    return load_part(EXAMPLES / f"mixpeek-{name}.yaml", MixpeekSubmitSettings)


def parsed(**settings: Any) -> MixpeekSubmitSettings:
    return MixpeekSubmitSettings.model_validate(settings)


async def submitted(
    source: MixpeekSource, url: str = FILM, where: str = "quickstart", **options: Any
) -> list[Submission]:
    chosen = SubmitOptions(**options)
    source.check_submission([url], chosen)
    return [change async for change in source.submit(where, url, chosen)]


def release(name: str) -> SandboxSettings:
    return SandboxSettings(mixpeek=MixpeekDialect.model_validate({"release": name}))


@pytest.mark.parametrize("name", ["2024-11", "2024-12", "2025-01"])
async def test_a_file_is_submitted_and_watched_in_every_release(name: str) -> None:
    async with reading_sandbox(release(name)) as (source, sandbox):
        changes = await submitted(source, metadata={"hello": "world"})
        asset_id = changes[-1].asset_id
        told = [(change.state, change.status) for change in changes]
        assert told[-1] == (READY, "DONE")
        assert {state for state, _ in told[:-1]} == {INDEXING}
        assert sandbox.mixpeek.asset(asset_id)["metadata"] == {"hello": "world"}
        assert [listing.asset_id async for listing in source.scan("quickstart")].count(asset_id) == 1
        # The same address is the same file, and is not made anew.
        again = (await submitted(source))[-1]
        assert (again.state, again.status, again.asset_id, again.known) == (SKIPPED, "SKIPPED", asset_id, True)
        assert [again.note, (await submitted(source, metadata={"a": 1}))[-1].note] == ["", METADATA_STAYS]
        anew = (await submitted(source, again=True))[-1]
        assert anew.state == READY
        assert anew.asset_id != asset_id


async def test_the_examples_of_the_guides_are_taken_by_the_release_that_they_are_for() -> None:
    for name, when, url in (
        ("quickstart", "2024-11", FILM),
        ("image", "2024-12", PICTURE),
        ("video", "2025-01", FILM),
        ("video", "2024-12", FILM),
    ):
        async with reading_sandbox(release(when)) as (source, sandbox):
            last = (await submitted(source, url, settings=example(name)))[-1]
            assert last.state == READY, last
            (first, *_) = [sandbox.mixpeek.feature(each) for each in sandbox.mixpeek.feature_ids(last.asset_id)]
            assert first["text"]
            assert first["json_output"].keys() in ({"emotions"}, {"objects", "colors"}, {"objects", "scenes"})


@asynccontextmanager
async def recorded(paths: Mapping[str, Any]) -> AsyncIterator[tuple[MixpeekSource, Server]]:
    """A service that has just these paths, and remembers what it was asked."""
    collections: dict[str, Any] = {"results": [], "pagination": {}}
    async with serving(Answers({"/collections": collections, **paths}).handle) as server:
        source = source_for(server.url)
        try:
            yield source, server
        finally:
            await source.aclose()


DONE = {"task_id": "t1", "status": "DONE", "asset_id": "a1"}


async def body_sent(path: str, url: str, **options: Any) -> dict[str, Any]:
    async with recorded({path: DONE, "/tasks/t1": DONE}) as (source, server):
        assert (await submitted(source, url, "c", **options))[-1].asset_id == "a1"
        (body,) = [orjson.loads(seen.body) for seen in server.seen if seen.path == path]
    assert isinstance(body, dict)
    return body


async def test_the_quickstart_guide_s_body_is_sent_as_it_is_printed() -> None:
    body = await body_sent("/index/url", FILM, settings=example("quickstart"))
    (video,) = body["video_settings"]
    assert body == {
        "url": FILM,
        "collection_id": "c",
        "metadata": {"hello": "world"},
        "video_settings": [video],
        "prevent_duplicate": True,
    }
    assert video["embed"] == {"model_id": "multimodal-v1"}
    assert video["json_output"]["response_shape"] == {"emotions": ["str"]}


async def test_december_spells_it_otherwise() -> None:
    body = await body_sent("/index/images/url", PICTURE, settings=example("image"), metadata={"campaign": "spring"})
    assert body["percolate"] == {"enabled": True, "min_score": 0.5, "max_candidates": 10}
    assert (body["collection_id"], body["skip_duplicate"], body["metadata"]) == ("c", True, {"campaign": "spring"})
    made = body["feature_extractors"]
    assert made["embed"][0] == {"type": "url", "vector_index": "multimodal"}
    assert made["describe"]["vector_index"] == "text"
    assert made["detect"]["faces"] == {"enabled": True, "confidence_threshold": 0.8}
    assert "modality" not in body


async def test_ingest_spells_it_as_its_schemas_do() -> None:
    body = await body_sent("/ingest/videos/url", FILM, settings=example("video"))
    assert body["collection"] == "c"
    (video,) = body["feature_extractors"]
    assert video["embed"][1] == {"type": "text", "value": "spring collection", "embedding_model": "text"}
    without = example("image").model_copy(update={"percolate": None})
    image = parsed(**without.model_dump(exclude_unset=True, exclude={"percolate"}))
    assert (await body_sent("/ingest/images/url", PICTURE, settings=image))["feature_extractors"]["embed"][1] == {
        "type": "url",
        "embedding_model": "image",
    }


@pytest.mark.parametrize(
    ("settings", "options", "sent"),
    [
        ({}, {}, True),
        ({}, {"again": True}, False),
        ({"skip_duplicate": False}, {}, False),
        ({"skip_duplicate": True}, {"again": True}, False),
        ({"asset_update": {"asset_id": "a0", "mode": "replace"}}, {}, None),
    ],
)
async def test_what_is_there_already_is_left_alone_unless_somebody_says_otherwise(
    settings: dict[str, Any], options: dict[str, Any], sent: bool | None
) -> None:
    body = await body_sent("/ingest/videos/url", FILM, settings=parsed(**settings), **options)
    assert body.get("skip_duplicate") == sent
    assert body.get("asset_update") == settings.get("asset_update")


@pytest.mark.parametrize(
    ("settings", "urls", "told"),
    [
        (
            {"percolate": {"enabled": True}, "video_settings": {"read": {"model_id": "video-descriptor-v1"}}},
            [FILM],
            "no release of the API takes all of enabled, model_id, percolate together",
        ),
        ({"asset_update": {"asset_id": "a", "mode": "replace"}}, [FILM, PICTURE], "cannot be replaced by several"),
        ({}, ["https://media.example/watch?v=7"], "say `modality: video` or `image`"),
        ({"image_settings": {}, "video_settings": {}}, ["https://media.example/7"], "say `modality: video`"),
    ],
)
def test_what_cannot_be_sent_is_told_before(settings: dict[str, Any], urls: Sequence[str], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        source_for("https://api.example").check_submission(urls, SubmitOptions(settings=parsed(**settings)))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("video_settings: [{interval: 10}]", "video_settings[0].interval: unknown key; did you mean interval_sec?"),
        (
            "video_settings: [{interval_sec: 121}]",
            "video_settings[0].interval_sec: should be at most 120",
        ),
        ("image_settings: {detect: {face: {}}}", "image_settings.detect.face: unknown key; did you mean faces?"),
        ("image_settings: {detect: {faces: {confidence_threshold: 80}}}", "should be at most 1"),
        ("image_settings: {embed: [{type: url}]}", "embed[0]: needs `type` and `embedding_model`"),
        ("image_settings: {embed: [{type: url, value: a, embedding_model: image}]}", "leave `value` out"),
        ("image_settings: {embed: [{type: url, vector_index: imagee}]}", "should be 'image', 'multimodal'"),
        ("percolate: {min_scor: 1}", "percolate.min_scor: unknown key; did you mean min_score?"),
        ("asset_update: {asset_id: a, mode: merge}", "asset_update.mode: should be 'replace' or 'append'"),
        ("asset_update: {mode: append}", "asset_update.asset_id: is missing; add it"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_place(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "own.yaml").write_text(content)
    with pytest.raises(ConfigurationError) as refused:
        load_part(tmp_path / "own.yaml", MixpeekSubmitSettings)
    assert told in str(refused.value)


def test_the_user_s_own_json_is_no_setting() -> None:
    shape = {"model_id": "str", "percolate": ["str"], "deep": [{"enabled": "str"}]}
    own = parsed(image_settings={"json_output": {"response_shape": shape}})
    assert own.words == {"image_settings", "json_output", "response_shape"}


@pytest.mark.parametrize(
    ("task", "state", "asset_id", "detail"),
    [
        ({"status": "FAILED", "error": {"message": "no video in it"}}, FAILED, "", "no video in it"),
        ({"status": "FAILED"}, FAILED, "", "the service does not say why"),
        ({"status": "CANCELLED", "error": "killed\nby hand"}, FAILED, "", "killed by hand"),
        ({"status": "SKIPPED", "error": {"asset_id": "a7"}}, SKIPPED, "a7", ""),
        ({"status": "SKIPPED", "error": "is 0b6f4f3e-8a41-4d0c-9f57-6f2f0f1c2d11"}, SKIPPED,
         "0b6f4f3e-8a41-4d0c-9f57-6f2f0f1c2d11", ""),
        ({"status": "SKIPPED"}, SKIPPED, "", ""),
        ({"status": "done", "outputs": [["nothing"], [{"asset_id": "a8"}]]}, READY, "a8", ""),
    ],
)  # fmt: skip
async def test_what_a_task_may_end_with(task: dict[str, Any], state: str, asset_id: str, detail: str) -> None:
    queued, ended = {"task_id": "t1", "message": "queued"}, {"task_id": "t1", **task}
    running = {"task_id": "t1", "status": "DOWNLOADING"}
    paths = {"/ingest/videos/url": queued, "/tasks/t1": [running, running, ended]}
    async with recorded(paths) as (source, _):
        changes = await submitted(source)
    assert [change.status for change in changes[:-1]] == ["PENDING", "DOWNLOADING"]
    last = changes[-1]
    assert (last.state, last.asset_id, last.detail) == (state, asset_id, detail)
    assert last.status == task["status"].upper()


async def test_an_asset_that_no_task_names_is_found_by_its_task() -> None:
    rows = [{"asset_id": "a1", "task_id": "t0"}, {"asset_id": "a2", "task_id": "t1"}]
    listed = {"results": rows, "pagination": {"total": 2, "total_pages": 1}}
    done = {"task_id": "t1", "status": "DONE", "outputs": None}
    async with recorded({"/ingest/videos/url": done, "/tasks/t1": done, "/assets": listed}) as (source, _):
        assert (await submitted(source))[-1].asset_id == "a2"


async def test_a_submission_without_an_answer_is_not_sent_twice() -> None:
    async with reading_sandbox() as (source, sandbox):
        sandbox.faults.add(Fault(route="ingest", do=Reset(when="after"), times=1))
        with pytest.raises(UnsureError, match="It was not sent again"):
            await submitted(source)
        assert len(film_assets(sandbox)) == 1
        # Whoever submits it again finds that the service has it.
        last = (await submitted(source))[-1]
        assert (last.state, last.known) == (READY, True)
        assert len(film_assets(sandbox)) == 1


@pytest.mark.parametrize("name", ["2024-11", "2025-01"])
async def test_what_was_left_half_way_is_waited_for_and_not_taken_for_ready(name: str) -> None:
    async with reading_sandbox(release(name)) as (source, sandbox):
        async with aclosing(source.submit("quickstart", FILM, SubmitOptions())) as changes:
            assert (await anext(changes)).state == INDEXING
        (asset_id,) = film_assets(sandbox)
        last = (await submitted(source))[-1]
        assert (last.state, last.asset_id, last.known) == (READY, asset_id, True)
        assert sandbox.mixpeek.asset(asset_id)["status"] == "DONE"


def film_assets(sandbox: Sandbox) -> list[str]:
    ids = sandbox.mixpeek.asset_ids("quickstart")
    return [each for each in ids if sandbox.mixpeek.asset(each)["url"] == FILM]


async def test_looks_that_fail_are_repeated() -> None:
    async with reading_sandbox() as (source, sandbox):
        sandbox.faults.add(
            Fault(route="tasks.get", do=Status(status=503), times=1),
            Fault(route="tasks.get", do=SetField(field="status", value="REINVENTED"), times=1),
        )
        changes = await submitted(source)
    assert [change.status for change in changes] == ["PROCESSING", "REINVENTED", "DONE"]


async def test_an_api_that_takes_nothing_in_says_what_was_tried() -> None:
    async with recorded({}) as (source, server):
        with pytest.raises(NotFoundError, match="can only be sent as in November 2024"):
            await submitted(source, settings=example("quickstart"))
        assert [seen.path for seen in server.seen if seen.method == "POST"] == ["/index/url", "/index/videos/url"]


async def test_a_refusal_is_in_the_service_s_words() -> None:
    refused = web.json_response({"detail": [{"loc": ["body", "url"], "msg": "not reachable"}]}, status=422)
    async with recorded({"/ingest/videos/url": refused}) as (source, _):
        with pytest.raises(Exception, match=r"body.url: not reachable"):
            await submitted(source)
