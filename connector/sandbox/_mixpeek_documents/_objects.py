"""One bucket, objects in it, and the processing of them into documents. Nothing is fetched: what is "seen" is what the
address says."""

from __future__ import annotations

from secrets import token_hex
from typing import Any, Final, Literal

from pydantic import Field

from vectorferry.connector.sandbox._http import Handlers, RefusedError, Reply, Request, json_reply
from vectorferry.connector.sandbox._mixpeek._submit import moments_of
from vectorferry.connector.sandbox._mixpeek_documents._requests import Context, RequestBody, parse_body, require
from vectorferry.connector.sandbox._mixpeek_documents._store import (
    Namespace,
    StoredCollection,
    StoredDocument,
    new_internal,
    now,
    time_text,
)
from vectorferry.connector.sandbox._vectors import MODELS, TextVector

objects: Handlers[Context] = Handlers()

BUCKET: Final = "bkt_sandbox"
FIELDS: Final = {
    "video": "video",
    "image": "image",
    "audio": "audio",
    "text": "text",
    "poster": "image",
    "title": "string",
}
_SECONDS: Final = 10


class Blob(RequestBody):
    """One file of an object."""

    property: str = Field(min_length=1, max_length=100)
    type: Literal["video", "image", "audio", "text", "pdf", "excel"]
    key_prefix: str | None = None
    data: Any = None
    upload_id: str | None = None
    checksum: str | None = None
    metadata: dict[str, Any] | None = None
    canonicalize_source: bool | None = None
    force_remirror: bool | None = None


class NewObject(RequestBody):
    """``POST /v1/buckets/{bucket}/objects``."""

    key_prefix: str | None = None
    blobs: list[Blob] = Field(default_factory=list)
    skip_duplicates: bool = False
    canonicalize_source: bool = True
    force_remirror: bool = False
    edges: Any = None
    idempotency_key: str | None = Field(default=None, max_length=255)


class Trigger(RequestBody):
    """``POST /v1/collections/{collection}/trigger``."""

    include_buckets: list[str] | None = None
    include_collections: list[str] | None = None
    object_ids: list[str] | None = None
    source_filters: Any = None
    dedup_strategy: Literal["skip", "replace", "force"] | None = None
    reembed: Any = None


@objects("documents.buckets.get", "GET", "/v1/buckets/{bucket}")
def _bucket(context: Context, request: Request) -> Reply:
    namespace = _in_bucket(context, request.params[0])
    schema = {"properties": {name: {"type": kind, "required": False} for name, kind in FIELDS.items()}}
    counts = {"object_count": len(namespace.objects), "total_size_bytes": 0}
    return json_reply({"bucket_id": BUCKET, "bucket_name": "sandbox", "bucket_schema": schema, **counts})


@objects("documents.objects.create", "POST", "/v1/buckets/{bucket}/objects")
def _create(context: Context, request: Request) -> Reply:
    # The same key is the same object, as it has become meanwhile.
    namespace, body = _in_bucket(context, request.params[0]), parse_body(NewObject, request, context.dialect)
    for blob in body.blobs:
        if FIELDS.get(blob.property) != blob.type:
            raise RefusedError(400, f"{blob.property!r} is no {blob.type} field of the bucket's schema")
    key = body.idempotency_key
    same = next((each for each in namespace.objects.values() if key and each["idempotency_key"] == key), None)
    if same is None:
        same = {
            "object_id": f"obj_{token_hex(8)}",
            "bucket_id": BUCKET,
            "blobs": [blob.model_dump(exclude_none=True) for blob in body.blobs],
            "status": "PENDING",
            "idempotency_key": key,
            "created_at": time_text(now()),
        }
        namespace.objects[same["object_id"]] = same
    return json_reply({name: value for name, value in same.items() if name != "blobs"})


@objects("documents.objects.get", "GET", "/v1/buckets/{bucket}/objects/{object}")
def _get(context: Context, request: Request) -> Reply:
    stored = _in_bucket(context, request.params[0]).objects.get(request.params[1])
    return json_reply(
        {name: value for name, value in require(stored, "Object", request.params[1]).items() if name != "blobs"}
    )


@objects("documents.collections.trigger", "POST", "/v1/collections/{collection}/trigger")
def _trigger(context: Context, request: Request) -> Reply:
    collection, body = context.collection(request.params[0]), parse_body(Trigger, request, context.dialect)
    namespace, task_id = context.required(), f"task_{token_hex(8)}"
    task = {
        "task_id": task_id,
        "task_type": "api_buckets_batches_process",
        "status": "PENDING",
        "batch_id": f"btch_{token_hex(6)}",
        "collection_id": collection.collection_id,
        "object_ids": list(body.object_ids or namespace.objects),
        "upcoming": ["IN_PROGRESS", "COMPLETED"],
    }
    namespace.tasks[task_id] = task
    ids = {name: task[name] for name in ("task_id", "batch_id", "collection_id")}
    return json_reply({**ids, "object_count": len(task["object_ids"]), "total_tiers": 1, "message": "triggered"}, 202)


@objects("documents.tasks.get", "GET", "/v1/tasks/{task}")
def _task(context: Context, request: Request) -> Reply:
    # A task moves on after each look, whichever namespace it is looked at from.
    every = {name: (each, task) for each in context.store.namespaces.values() for name, task in each.tasks.items()}
    namespace, task = require(every.get(request.params[0]), "Task", request.params[0])
    shown = {name: task[name] for name in ("task_id", "task_type", "status")}
    _move_on(context, namespace, task)
    return json_reply({**shown, "inputs": task["object_ids"], "outputs": [], "additional_data": {}, "error": None})


@objects("documents.batches.get", "GET", "/v1/batches/{batch}")
def _batch(context: Context, request: Request) -> Reply:
    named = (each for each in context.required().tasks.values() if each["batch_id"] == request.params[0])
    task = require(next(named, None), "Batch", request.params[0])
    _move_on(context, context.required(), task)
    shown = {"batch_id": task["batch_id"], "bucket_id": BUCKET, "status": task["status"], "documents_resolvable": True}
    return json_reply({**shown, "failure_reason": None, "object_ids": task["object_ids"]})


def _in_bucket(context: Context, identifier: str) -> Namespace:
    require(BUCKET if identifier in (BUCKET, "sandbox") else None, "Bucket", identifier)
    return context.required()


def _move_on(context: Context, namespace: Namespace, task: dict[str, Any]) -> None:
    if not task["upcoming"]:
        return
    task["status"] = task["upcoming"].pop(0)
    if task["status"] == "COMPLETED":
        collection = namespace.collections[task["collection_id"]]
        for object_id in task["object_ids"]:
            if stored := namespace.objects.get(object_id):
                _process(context, namespace, collection, stored)
                stored["status"] = "COMPLETED"


def _process(context: Context, namespace: Namespace, collection: StoredCollection, stored: dict[str, Any]) -> None:
    """A document for each moment of each file, unless there are some already."""
    if any(each.object_id == stored["object_id"] for each in collection.documents.values()):
        return
    for blob in stored["blobs"]:
        for part, moment in enumerate(moments_of(str(blob["data"]), blob["type"])):
            document_id = f"doc_{token_hex(8)}"
            words = " ".join(dict.fromkeys(word for word in moment[:3] if word))
            span = {"start_time": float(part * _SECONDS), "end_time": float((part + 1) * _SECONDS)}
            fields = {
                **(span if blob["type"] == "video" else {}),
                "description": moment.scene,
                "transcription": moment.speech,
                "metadata": blob.get("metadata") or {},
                "document_blobs": [
                    {"field": blob["property"], "role": "source", "type": blob["type"], "url": blob["data"]}
                ],
            }
            internal = new_internal(
                namespace,
                collection.collection_id,
                document_id,
                lineage={
                    "root_object_id": stored["object_id"],
                    "root_bucket_id": BUCKET,
                    "source_type": "bucket",
                },
                modality=blob["type"],
            )
            models = {size: model for model, size in MODELS.items()}
            vectors = {
                name: TextVector(words, models[index.dimensions])
                for name, index in collection.indexes.items()
                if index.dimensions in models
            }
            document = StoredDocument(document_id, collection.collection_id, fields, internal, {**vectors})
            context.store.put(namespace, document)
    context.store.tell(namespace, "collection.documents.batch_completed", {"collection_id": collection.collection_id})
