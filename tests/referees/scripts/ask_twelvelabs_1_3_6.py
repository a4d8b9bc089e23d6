"""Reads a sandbox with twelvelabs 1.3.6."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any
from urllib.request import Request, urlopen

from asking import print_answers, refused  # type: ignore[import-not-found]
from twelvelabs import TwelveLabs  # type: ignore[import-not-found]

# The SDK would take this address in place of the one that it is given.
os.environ.pop("TWELVELABS_BASE_URL", None)

OPTIONS = {"embedding_option": ["visual", "audio", "transcription"], "transcription": True}

url, key, control_key = sys.argv[1:]
CONTROL = {"X-Sandbox-Key": control_key}
client = TwelveLabs(api_key=key, base_url=f"{url}/v1.3", timeout=20)
stranger = TwelveLabs(api_key="tlk_wrong", base_url=f"{url}/v1.3", timeout=20)


def known(thing: Any, *names: str) -> dict[str, Any]:
    """Attributes of what the SDK made of an answer; one that it does not know is an error."""
    return {name: getattr(thing, name) for name in names}


def rows(things: Iterable[Any], *names: str) -> list[dict[str, Any]]:
    """The same for each of a list."""
    return [known(thing, *names) for thing in things]


def asked(call: Callable[[], Iterable[Any]]) -> list[int]:
    """How many things a list has, and how many requests it took."""
    urlopen(Request(f"{url}/_sandbox/requests/reset", headers=CONTROL, method="POST")).close()
    found = len(list(call()))
    with urlopen(Request(f"{url}/_sandbox/requests", headers=CONTROL)) as counts:
        return [found, sum(json.load(counts).values())]


def segments_of(embedding: Any) -> list[dict[str, Any]]:
    """Every segment, with the length of its vector."""
    names = ("start_offset_sec", "end_offset_sec", "embedding_option", "embedding_scope")
    return [{**known(one, *names), "length": len(one.float_)} for one in embedding.segments]


def detail(found: Any) -> dict[str, Any]:
    """An indexed asset or a video with all that can be asked for."""
    return {
        **known(found, "id", "created_at", "updated_at", "indexed_at", "user_metadata"),
        "asset_id": getattr(found, "asset_id", None),
        "status": getattr(found, "status", None),
        "file": known(found.system_metadata, "filename", "duration", "fps", "width", "height", "size"),
        "hls": known(found.hls, "video_url", "thumbnail_urls", "status", "updated_at"),
        "model_name": found.embedding.model_name,
        "segments": segments_of(found.embedding.video_embedding),
        "transcription": rows(found.transcription, "start", "end", "value"),
    }


def v2(found: Any) -> dict[str, Any]:
    """An embed-v2 task, with the lengths of its vectors."""
    names = ("embedding_option", "embedding_scope", "start_sec", "end_sec")
    return {
        **known(found, "id", "status", "error", "created_at"),
        "data": [{**known(one, *names), "length": len(one.embedding)} for one in found.data],
        "metadata": known(found.metadata, "input_type", "embedding_options", "embedding_scopes", "duration"),
    }


def submitted() -> list[Any]:
    """From an address to a ready asset: every state that is seen on the way."""
    upload = client.assets.create(method="url", url="https://media.example.com/red-kite.mp4")
    seen = [upload.status, *(client.assets.retrieve(upload.id).status for _ in range(2))]
    made = assets.create(films, asset_id=upload.id, user_metadata={"a": 1})
    seen += [assets.retrieve(films, made.id).status for _ in range(4)]
    assets.update(films, made.id, user_metadata={"a": None, "b": 2})
    seen.append(assets.retrieve(films, made.id).user_metadata)
    assets.delete(films, made.id)
    client.assets.delete(upload.id)
    return seen


indexes = {one.index_name: one for one in client.indexes.list(page_limit=50, sort_by="created_at", sort_option="asc")}
films = indexes["films"].id
assets = client.indexes.indexed_assets
listed = list(assets.list(films, page_limit=50, sort_by="created_at", sort_option="asc"))
first = listed[0]
embed_tasks = {one.status: one for one in client.embed.tasks.list(page_limit=50)}
embed_v2_tasks = {one.status: one for one in client.embed.v_2.tasks.list(page_limit=50)}
collections = {one.name: one for one in client.entity_collections.list(page_limit=50)}
entities = client.entity_collections.entities
people = collections["people"].id
question = {"index_id": films, "search_options": ["visual", "audio"], "query_text": "a dog jumps over a bar"}
tasks = list(client.tasks.list(index_id=films, page_limit=50))

print_answers(
    {
        "indexes": lambda: rows(indexes.values(), "id", "index_name", "created_at", "updated_at", "video_count"),
        "models": lambda: [
            [one.index_name, model.model_name, model.model_options] for one in indexes.values() for model in one.models
        ],
        "index": lambda: client.indexes.retrieve(films).index_name,
        "indexed_assets": lambda: rows(listed, "id", "asset_id", "status", "created_at", "updated_at"),
        "ready": lambda: {one.status for one in assets.list(films, page_limit=50, status=["ready"])} == {"ready"},
        "long": lambda: len(list(assets.list(films, page_limit=50, duration={"gte": 30.0}))),
        "by_metadata": lambda: len(list(assets.list(films, page_limit=50, user_metadata={"author": "maren"}))),
        "pages": lambda: asked(lambda: assets.list(films, page_limit=37)),
        "no_rows": lambda: asked(lambda: assets.list(films, filename="nothing.mp4")),
        "detail": lambda: detail(assets.retrieve(films, first.id, **OPTIONS)),
        "plain": lambda: known(assets.retrieve(films, first.id), "embedding", "transcription", "status"),
        "by_asset": lambda: [[one.id, one.index.name] for one in assets.list_by_asset(first.asset_id)],
        "videos": lambda: len(list(client.indexes.videos.list(films, page_limit=50))),
        "video": lambda: detail(client.indexes.videos.retrieve(films, first.id, **OPTIONS)),
        "tasks": lambda: rows(tasks, "id", "video_id", "index_id", "status", "created_at", "updated_at"),
        "task": lambda: known(client.tasks.retrieve(tasks[0].id), "id", "status", "system_metadata"),
        "uploads": lambda: rows(
            client.assets.list(page_limit=50), "id", "method", "status", "filename", "file_type", "created_at"
        ),
        "upload": lambda: known(client.assets.retrieve(first.asset_id), "id", "duration", "size"),
        "said": lambda: {
            kind: rows(found, "start", "end", "value")
            for kind, found in client.assets.retrieve_transcription(
                first.asset_id, include=["words", "sentences", "utterances"]
            )
            if isinstance(found, list)
        },
        "embed_tasks": lambda: rows(
            embed_tasks.values(), "id", "status", "model_name", "created_at", "updated_at", "video_embedding"
        ),
        "embed_tasks_ever": lambda: asked(
            lambda: client.embed.tasks.list(started_at="2020-01-01T00:00:00Z", page_limit=3)
        ),
        "embed_task": lambda: segments_of(client.embed.tasks.retrieve(embed_tasks["ready"].id).video_embedding),
        "embed_task_seen": lambda: segments_of(
            client.embed.tasks.retrieve(embed_tasks["ready"].id, embedding_option=["visual"]).video_embedding
        ),
        "embed_task_status": lambda: known(
            client.embed.tasks.status(embed_tasks["ready"].id), "id", "status", "model_name"
        ),
        "embed_v2_tasks": lambda: rows(embed_v2_tasks.values(), "id", "status", "model_name", "created_at"),
        "embed_v2_task": lambda: v2(client.embed.v_2.tasks.retrieve(embed_v2_tasks["ready"].id)),
        "embed_v2_waits": lambda: known(
            client.embed.v_2.tasks.retrieve(embed_v2_tasks["processing"].id), "data", "status", "error"
        ),
        "embed_v2_failed": lambda: client.embed.v_2.tasks.retrieve(embed_v2_tasks["failed"].id).error.message,
        "embed_v2_created": lambda: known(
            client.embed.v_2.tasks.create(
                input_type="video",
                model_name="marengo3.0",
                video={"media_source": {"url": "https://example.com/x.mp4"}},
            ),
            "id",
            "status",
            "data",
        ),
        "embedded": lambda: [
            len(one.embedding)
            for one in client.embed.v_2.create(
                input_type="text", model_name="marengo3.0", text={"input_text": "a dog"}
            ).data
        ],
        "collections": lambda: rows(collections.values(), "id", "name", "description", "created_at", "updated_at"),
        "entities": lambda: rows(
            entities.list(people, page_limit=50),
            *("id", "name", "description", "metadata", "asset_ids", "status", "created_at", "updated_at"),
            "entity_collection_id",
        ),
        "no_entities": lambda: asked(lambda: entities.list(collections["empty"].id)),
        "found": lambda: rows(
            list(client.search.query(**question, page_limit=5)), "start", "end", "video_id", "rank", "thumbnail_url"
        ),
        "found_videos": lambda: [
            [one.id, len(one.clips), one.user_metadata]
            for one in client.search.create(**question, group_by="video", include_user_metadata=True).data
        ],
        "submitted": submitted,
        "missing_index": lambda: refused(lambda: client.indexes.retrieve("nope")),
        "missing_asset": lambda: refused(lambda: assets.retrieve(films, "nope")),
        "wrong_key": lambda: refused(lambda: list(stranger.indexes.list())),
        "large_page": lambda: refused(lambda: list(client.indexes.list(page_limit=51))),
    }
)
