"""A file into a bucket, processed for a collection: what is sent, what is looked at, and how it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web

from tests.connector.http.serving import Server, serving
from tests.connector.sources.mixpeek.worlds import Answers
from tests.connector.sources.mixpeek_documents.worlds import QUICK, reading
from vectorferry.connector.http import UnsureError
from vectorferry.connector.plugin import ConfigurationError, Submission, SubmissionState, SubmitOptions
from vectorferry.connector.sandbox import Fault, Reset, Sandbox, SandboxSettings, Status
from vectorferry.connector.sources.mixpeek_documents import MixpeekDocumentsSettings, MixpeekDocumentsSource
from vectorferry.connector.sources.mixpeek_documents._submit_settings import MixpeekDocumentsSubmitSettings

FILM = "https://media.example/harbour-at-dawn.mp4?X-Amz-Signature=4711"
PLACE = "col_lectures"
FETCHING, INDEXING, READY, SKIPPED, FAILED = (
    SubmissionState(name) for name in ("fetching", "indexing", "ready", "skipped", "failed")
)


def parsed(**settings: Any) -> MixpeekDocumentsSubmitSettings:
    return MixpeekDocumentsSubmitSettings.model_validate(settings)


async def submitted(
    source: MixpeekDocumentsSource, url: str = FILM, where: str = PLACE, **options: Any
) -> list[Submission]:
    chosen = SubmitOptions(**options)
    source.check_submission([url], chosen)
    return [change async for change in source.submit(where, url, chosen)]


@pytest.fixture
async def both() -> AsyncIterator[tuple[MixpeekDocumentsSource, Sandbox]]:
    async with reading(SandboxSettings(), namespace="media") as pair:
        yield pair


async def test_a_file_becomes_an_object_and_documents_with_its_metadata(
    both: tuple[MixpeekDocumentsSource, Sandbox],
) -> None:
    source, sandbox = both
    changes = await submitted(source, metadata={"hello": "world"})
    assert [(change.state, change.status) for change in changes] == [
        (FETCHING, "PENDING"),
        (INDEXING, "PENDING"),
        (INDEXING, "IN_PROGRESS"),
        (READY, "COMPLETED"),
    ]
    asset_id = changes[-1].asset_id
    documents = [sandbox.documents.document(each) for each in sandbox.documents.document_ids(asset_id)]
    assert len(documents) == 3
    assert all(each["metadata"] == {"hello": "world"} for each in documents)
    assert asset_id in {listing.asset_id async for listing in source.scan(PLACE)}
    # The same address is the same object, of which something was made.
    (again,) = await submitted(source, metadata={"hello": "you"})
    assert (again.state, again.asset_id, again.known) == (SKIPPED, asset_id, True)
    assert "with the metadata that it has there" in again.note
    anew = (await submitted(source, again=True))[-1]
    assert (anew.state, anew.known) == (READY, False)
    assert anew.asset_id != asset_id


async def test_what_was_left_half_way_is_taken_up(both: tuple[MixpeekDocumentsSource, Sandbox]) -> None:
    source, sandbox = both
    sandbox.faults.add(Fault(route="documents.collections.trigger", do=Status(status=403), times=1))
    with pytest.raises(Exception, match="403"):
        await submitted(source)
    last = (await submitted(source))[-1]
    assert (last.state, last.known) == (READY, False)
    assert sandbox.requests.counts()["documents.objects.create"] == 2


async def test_answers_that_are_lost_harm_nothing_where_the_object_has_its_key(
    both: tuple[MixpeekDocumentsSource, Sandbox],
) -> None:
    source, sandbox = both
    for route in ("documents.objects.create", "documents.collections.trigger", "documents.tasks.get"):
        sandbox.faults.add(Fault(route=route, do=Reset(when="after"), times=1))
    last = (await submitted(source))[-1]
    assert last.state == READY
    assert len(sandbox.documents.document_ids(last.asset_id)) == 3
    sandbox.faults.add(Fault(route="documents.objects.create", do=Reset(when="after"), times=1))
    with pytest.raises(UnsureError, match="It was not sent again"):
        await submitted(source, again=True)


async def test_a_task_that_is_forgotten_is_followed_by_its_batch(both: tuple[MixpeekDocumentsSource, Sandbox]) -> None:
    source, sandbox = both
    sandbox.faults.add(Fault(route="documents.tasks.get", do=Status(status=404)))
    assert (await submitted(source))[-1].state == READY
    assert sandbox.requests.counts()["documents.batches.get"] >= 2


async def test_a_field_of_the_bucket_is_found_by_its_type(both: tuple[MixpeekDocumentsSource, Sandbox]) -> None:
    source, _ = both
    with pytest.raises(ConfigurationError, match=r"several fields of the bucket .* are of type image: say `property"):
        await submitted(source, "https://media.example/a.jpg")
    last = (await submitted(source, "https://media.example/a.jpg", settings=parsed(property="poster")))[-1]
    assert last.state == READY
    with pytest.raises(ConfigurationError, match="no fields of the bucket"):
        await submitted(source, "https://media.example/a.pdf")
    with pytest.raises(ConfigurationError, match="say `type: video`"):
        await submitted(source, "https://media.example/watch?v=7")
    assert (await submitted(source, "https://media.example/watch", settings=parsed(type="video")))[-1].state == READY


@asynccontextmanager
async def recorded(**paths: Any) -> AsyncIterator[tuple[MixpeekDocumentsSource, Server]]:
    """A service with one bucket, which answers what a test says."""
    fed = {"collection_id": "c", "source": {"type": "bucket", "bucket_ids": ["b"]}}
    answers = {
        "/v1/collections/c": fed,
        "/v1/buckets/b": {"bucket_schema": {"properties": {"film": {"type": "video"}, "title": {"type": "string"}}}},
        "/v1/buckets/b/objects": {"object_id": "o", "bucket_id": "b", "status": "PENDING"},
        "/v1/collections/c/trigger": {"task_id": "t", "batch_id": "x", "status": None},
        "/v1/tasks/t": {"task_id": "t", "status": "COMPLETED"},
        "/v1/objects/o/documents": {"documents": [{"document_id": "d"}]},
    }
    async with serving(Answers({**answers, **paths}).handle) as server:
        settings = MixpeekDocumentsSettings.model_validate(
            {"base_url": server.url, "api_key": "sk", "namespace": "n", "retry": QUICK}
        )
        source = settings.open()
        try:
            yield source, server
        finally:
            await source.aclose()


def bodies(server: Server) -> Sequence[Any]:
    return [orjson.loads(seen.body) for seen in server.seen if seen.method == "POST"]


async def test_all_settings_have_their_place() -> None:
    settings = parsed(
        bucket="b",
        property="film",
        type="video",
        metadata={"a": 1},
        key_prefix="spring",
        skip_duplicates=True,
        canonicalize_source=False,
        force_remirror=True,
        dedup_strategy="replace",
    )
    async with recorded() as (source, server):
        assert (await submitted(source, where="c", settings=settings, metadata={"b": 2}, again=True))[-1].state == READY
        created, triggered = bodies(server)
    assert created == {
        "blobs": [{"property": "film", "type": "video", "data": FILM, "metadata": {"a": 1, "b": 2}}],
        "key_prefix": "spring",
        "skip_duplicates": True,
        "canonicalize_source": False,
        "force_remirror": True,
    }
    assert triggered == {"object_ids": ["o"], "dedup_strategy": "replace"}


async def test_without_settings_little_is_sent_and_no_signature_is_in_the_key() -> None:
    async with recorded() as (source, server):
        await submitted(source, where="c")
        created, triggered = bodies(server)
    key = created.pop("idempotency_key")
    assert (len(key), "4711" in key) == (32, False)
    assert created == {"blobs": [{"property": "film", "type": "video", "data": FILM}]}
    assert triggered == {"object_ids": ["o"]}


@pytest.mark.parametrize(
    ("task", "documents", "state", "detail"),
    [
        ({"status": "FAILED", "error": "no video\nin it"}, [], FAILED, "no video in it"),
        ({"status": "CANCELED"}, [], FAILED, "the service does not say why"),
        ({"status": "SKIPPED"}, [], SKIPPED, ""),
        ({"status": "COMPLETED"}, [], FAILED, "nothing was made of it that can be read"),
        ({"status": "COMPLETED_WITH_ERRORS", "error": "too long"}, [], FAILED, "too long"),
        ({"status": "COMPLETED_WITH_ERRORS", "error": "too long"}, [{"document_id": "d"}], READY, ""),
    ],
)
async def test_what_a_task_may_end_with(task: dict[str, Any], documents: list[Any], state: str, detail: str) -> None:
    ended = {"task_id": "t", **task}
    paths = {"/v1/tasks/t": [{"task_id": "t", "status": "REINVENTED"}, ended]}
    async with recorded(**paths, **{"/v1/objects/o/documents": {"documents": documents}}) as (source, _):
        changes = await submitted(source, where="c")
    assert [change.status for change in changes[2:]] == ["REINVENTED", task["status"]]
    assert (changes[-1].state, changes[-1].detail, changes[-1].asset_id) == (state, detail, "o")


async def test_documents_that_come_late_are_waited_for() -> None:
    late = [not_there(), {"documents": []}, {"documents": [{"document_id": "d"}]}]
    async with recorded(**{"/v1/objects/o/documents": late}) as (source, _):
        assert (await submitted(source, where="c"))[-1].state == READY


async def test_an_object_that_another_batch_works_at_is_waited_for() -> None:
    """However long that takes: its own batch had nothing left to do."""
    working, done = ({"object_id": "o", "bucket_id": "b", "status": word} for word in ("PROCESSING", "COMPLETED"))
    paths = {
        "/v1/buckets/b/objects": working,
        "/v1/buckets/b/objects/o": [*[working] * 20, done],
        "/v1/objects/o/documents": [*[{"documents": []}] * 21, {"documents": [{"document_id": "d"}]}],
    }
    async with recorded(**paths) as (source, _):
        last = (await submitted(source, where="c"))[-1]
        assert (last.state, last.known) == (READY, True)


def not_there() -> web.Response:
    return web.json_response({}, status=404)


@pytest.mark.parametrize("buckets", [[], ["b", "b2"], None])
async def test_a_collection_with_more_or_less_than_one_bucket_has_to_be_told_which(buckets: list[str] | None) -> None:
    fed = {"collection_id": "c", "source": {"type": "bucket", "bucket_ids": buckets}}
    async with recorded(**{"/v1/collections/c": fed}) as (source, server):
        with pytest.raises(ConfigurationError, match="say `bucket: …` in a file"):
            await submitted(source, where="c")
        assert bodies(server) == []
