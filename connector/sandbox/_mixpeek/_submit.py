"""Submitting media, and the tasks that come of it. Nothing is fetched: what is "seen" is what the address says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote, urlsplit
from uuid import NAMESPACE_URL, uuid5

from vectorferry.connector.sandbox._http import Handlers, RefusedError, Reply, Request, json_object, json_reply
from vectorferry.connector.sandbox._mixpeek._library import StoredAsset, StoredFeature, now_text
from vectorferry.connector.sandbox._mixpeek._requests import Context, page_of, pagination, require
from vectorferry.connector.sandbox._mixpeek._search import stored_name
from vectorferry.connector.sandbox._shots import Moment, catalogue
from vectorferry.connector.sandbox._vectors import TextVector

submitting: Handlers[Context] = Handlers()

_UNFINISHED: Final = {"PENDING", "QUEUED", "INITIALIZING", "DOWNLOADING", "UPLOADING", "PROCESSING"}
_MODALITIES: Final = {"videos": "video", "images": "image", "text": "text"}

_COMMON: Final = frozenset({"url", "metadata", "asset_update"})
_DECLARED: Final = {
    "2024-11": _COMMON | {"collection_id", "video_settings", "image_settings", "prevent_duplicate", "should_save"},
    "2024-12": _COMMON | {"collection_id", "feature_extractors", "skip_duplicate", "percolate"},
    "2025-01": _COMMON | {"collection", "feature_extractors", "skip_duplicate"},
}
"""The keys of a body, by release, as the SDKs of these months declare them."""

_EMBEDDERS: Final = {"2024-11": "model_id", "2024-12": "vector_index", "2025-01": "embedding_model"}


@submitting("tasks.list", "GET", "/tasks")
def _tasks(context: Context, request: Request) -> Reply:
    # Only those that are unfinished.
    assets = [one for one in context.library.assets.values() if one.fields.get("status") in _UNFINISHED]
    page = page_of(request, context.dialect)
    rows = [_task_row(context, asset) for asset in page.rows(assets)]
    return json_reply({"results": rows, "pagination": pagination(page, len(assets), request, "/tasks")})


@submitting("tasks.get", "GET", "/tasks/{task_id}")
def _task(context: Context, request: Request) -> Reply:
    # What was submitted is done after one look at it.
    task_id = request.params[0]
    if skipped := context.library.skipped.get(task_id):
        return json_reply(skipped)
    assets = (one for one in context.library.assets.values() if one.fields.get("task_id") == task_id)
    asset = require(next(assets, None), "Task", task_id)
    reply = json_reply(_task_row(context, asset))
    if asset.upcoming is not None and asset.fields.get("status") == "PROCESSING":
        asset.fields |= {"status": "DONE", "updated_at": now_text()}
        asset.features, asset.upcoming = asset.upcoming, None
        context.library.add(asset)
    return reply


@submitting("ingest", "POST", "/index/url", "/index/videos/url", "/index/images/url", "/index/text")
@submitting("ingest", "POST", "/ingest/videos/url", "/ingest/images/url", "/ingest/text")
def _submit(context: Context, request: Request) -> Reply:
    path = request.path.removeprefix(request.prefix)
    try:
        body = json_object(request.body)
    except RefusedError:
        body = {}
    release = _release(context, path, body)
    collection = body.get("collection" if release == "2025-01" else "collection_id")
    if not isinstance(collection, str):
        raise _refused("collection" if release == "2025-01" else "collection_id", "Field required", "missing")
    for key in sorted(set(body) - _DECLARED[release] if path != "/ingest/text" else ()):
        raise _refused(key, "Extra inputs are not permitted", "extra_forbidden")
    named = context.library.named([collection])
    collection_id = named[0].collection_id if named else _new_collection(context, release, collection)
    task_id = str(uuid5(NAMESPACE_URL, f"task/{len(context.library.assets)}/{len(context.library.skipped)}"))
    skips = body.get("prevent_duplicate" if release == "2024-11" else "skip_duplicate", release == "2025-01")
    if skips and (same := _same(context, collection_id, body.get("url"))):
        message = f"Duplicate of asset {same.asset_id}"
        context.library.skipped[task_id] = {"task_id": task_id, "status": "SKIPPED", "error": {"message": message}}
    else:
        context.library.add(_asset(release, collection_id, task_id, _modality(path, body), body))
    if "/index/" in request.path:
        return json_reply({"message": "URL processing queued", "task_id": task_id})
    return json_reply({"task_id": task_id, "status": "PROCESSING", "inputs": [{"url": body.get("url")}]})


def _refused(key: str, message: str, kind: str) -> RefusedError:
    return RefusedError(422, message, details=[{"loc": ["body", key], "msg": message, "type": kind}])


def _release(context: Context, path: str, body: Mapping[str, Any]) -> str:
    """Whose keys a body may have. Both releases of ``/index/videos/url`` are served where all are."""
    if context.dialect.release != "all":
        return context.dialect.release
    if path.startswith("/ingest/"):
        return "2025-01"
    own = _DECLARED["2024-11"] - _DECLARED["2024-12"]
    return "2024-11" if path == "/index/url" or own & set(body) else "2024-12"


def _new_collection(context: Context, release: str, name: str) -> str:
    """Its id is the name it was given, until names and ids became two things."""
    collection_id = f"col_{uuid5(NAMESPACE_URL, name).hex[:10]}" if release == "2025-01" else name
    return context.library.add_collection(collection_id, name).collection_id


def _same(context: Context, collection_id: str, url: Any) -> StoredAsset | None:
    """The file that is there already: the sandbox takes the same address for the same bytes."""
    assets = context.library.add_collection(collection_id).assets.values()
    return next((one for one in assets if url and one.fields.get("url") == url), None)


def _modality(path: str, body: Mapping[str, Any]) -> str:
    kind = _MODALITIES.get(path.split("/")[2])
    return kind or ("image" if "image_settings" in body else "video")


def _asset(release: str, collection_id: str, task_id: str, modality: str, body: Mapping[str, Any]) -> StoredAsset:
    asset_id = str(uuid5(NAMESPACE_URL, f"asset of {task_id}"))
    fields = {
        "asset_id": asset_id,
        "collection_id": collection_id,
        "status": "PROCESSING",
        "url": body.get("url"),
        "metadata": body.get("metadata") or {},
        "error": None,
        "modality": modality,
        "task_id": task_id,
        "updated_at": now_text(),
        "created_at": now_text(),
        "score": None,
    }
    asset = StoredAsset(asset_id, collection_id, fields)
    extractors = body.get("feature_extractors") or body.get(f"{modality}_settings") or {}
    settings = extractors if isinstance(extractors, dict) else next(iter(extractors), {})
    asset.upcoming = {feature.feature_id: feature for feature in _features(release, asset, settings)}
    return asset


def _features(release: str, asset: StoredAsset, settings: Mapping[str, Any]) -> Iterator[StoredFeature]:
    modality, seconds = asset.fields["modality"], settings.get("interval_sec") or 10
    for part, moment in enumerate(moments_of(str(asset.fields["url"] or ""), modality)):
        feature_id = str(uuid5(NAMESPACE_URL, f"{asset.asset_id}/{part}"))
        made: dict[str, dict[str, Any]] = {
            "transcribe": {"transcription": moment.speech},
            "read": {"text": moment.caption},
            "describe": {"description": moment.scene},
            "json_output": {"json_output": _filled_in(settings.get("json_output") or {}, moment)},
        }
        span = {"start_time": float(part * seconds), "end_time": float((part + 1) * seconds), "interval_sec": seconds}
        fields = {
            "feature_id": feature_id,
            "modality": modality,
            "asset_id": asset.asset_id,
            "collection_id": asset.collection_id,
            "metadata": asset.fields["metadata"],
            **(span if modality == "video" else {}),
            **{key: value for name in made if _is_on(settings.get(name)) for key, value in made[name].items()},
            "created_at": f"{datetime.now(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z",
        }
        words = " ".join(dict.fromkeys(word for word in moment[:3] if word))
        models = _models(settings.get("embed"), _EMBEDDERS[release])
        vectors = {name: TextVector(words, name) for name in models}
        yield StoredFeature(feature_id, asset.asset_id, fields, dict(vectors))


def _is_on(settings: Any) -> bool:
    return isinstance(settings, dict) and settings.get("enabled") is not False


def _filled_in(settings: Mapping[str, Any], moment: Moment) -> dict[str, Any]:
    """The shape that was asked for, with the moods of the moment where lists are."""
    shape = settings.get("response_shape") or {}
    return {key: list(moment.emotions) if isinstance(value, list) else "" for key, value in shape.items()}


def _models(embed: Any, key: str) -> Iterable[str]:
    wanted = [embed] if isinstance(embed, dict) else embed or []
    named = [each[key] for each in wanted if isinstance(each, dict) and each.get(key)]
    return dict.fromkeys(map(stored_name, named)) or ("multimodal-v1",)


def moments_of(url: str, modality: str) -> Iterator[Moment]:
    """Those of the video in Mixpeek's guides; of any other file, what its name says, in three scenes or one."""
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    for shown in catalogue()["documented_by_mixpeek"]:
        if name and str(shown["fields"]["url"]).endswith(f"/{name}"):
            for feature in shown["features"]:
                yield _moment(feature["fields"])
            return
    words = " ".join(re.findall(r"[^\W_]+", name.rpartition(".")[0])) or "something"
    for scene in ("the beginning", "the middle", "the end")[: 3 if modality == "video" else 1]:
        yield Moment(f"{words}, {scene}", f"{words}.", words.upper(), ("calm",))


def _moment(fields: Mapping[str, Any]) -> Moment:
    emotions = tuple((fields.get("json_output") or {}).get("emotions", ()))
    scene, speech, caption = (str(fields.get(name) or "") for name in ("description", "transcription", "text"))
    return Moment(scene, speech, caption, emotions)


def _task_row(context: Context, asset: StoredAsset) -> dict[str, Any]:
    """Of the releases before ``/ingest`` with the asset's id; after that it is not known where that stands, if it does:
    the sandbox has it nowhere, unless it serves all of them."""
    row = {
        "task_id": asset.fields.get("task_id"),
        "status": asset.fields.get("status"),
        "inputs": [{"url": asset.fields.get("url")}],
    }
    if context.dialect.release == "2025-01":
        return {**row, "outputs": None}
    return {**row, "asset_id": asset.asset_id, "outputs": [{"asset_id": asset.asset_id}]}
