"""What both referee scripts share: ask, and print the answers as one JSON object. Runs in the referee's environment."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = [
    "EXAMPLE_TEXT",
    "EXAMPLE_TEXT_FEATURE",
    "QUICKSTART_VIDEO",
    "TASK",
    "common_calls",
    "features_of",
    "model_sizes",
    "print_answers",
]

EXAMPLE_TEXT = "60f391eb-b5ea-41cd-ba75-98d1bca25432"
EXAMPLE_TEXT_FEATURE = "98b693c0-6fc1-4420-97bd-6c4506356230"
QUICKSTART_VIDEO = "198dacbb-c7d2-41c3-b008-83ea41b29c31"
TASK = "3f0189c2-2f49-4119-851d-56a5701436a9"

Calls = dict[str, Callable[[], Any]]


def print_answers(calls: Mapping[str, Callable[[], Any]]) -> None:
    """Make every call and print its answer under its name; what JSON does not know is printed as text."""
    json.dump({name: call() for name, call in calls.items()}, sys.stdout, default=str)


def refused(call: Callable[[], Any]) -> list[str]:
    """The class of the error that a call raises, and what it carries."""
    try:
        call()
    except Exception as error:
        return [type(error).__name__, str(getattr(error, "data", error))]
    return ["nothing was raised"]


def common_calls(client: Any, stranger: Any) -> Calls:
    """The calls that have the same names in every release of the SDK. `stranger` has a wrong key."""
    return {
        "namespaces": lambda: [vars(each) for each in client.namespaces.list()],
        "collections": lambda: _page(client.collections.list(page=1, page_size=2, x_namespace="default")),
        "collection": lambda: client.collections.get(collection="lectures").collection_id,
        "assets": lambda: _page(
            client.assets.list(
                collections=["quickstart"],
                page=2,
                page_size=3,
                sort={"field": "created_at", "direction": "desc"},
                x_namespace="default",
            )
        ),
        "asset": lambda: vars(client.assets.get(asset_id=EXAMPLE_TEXT)),
        "feature": lambda: (
            client.features.get(feature_id=EXAMPLE_TEXT_FEATURE, return_vectors=True).additional_properties
        ),
        "plain_feature": lambda: client.features.get(feature_id=EXAMPLE_TEXT_FEATURE).additional_properties,
        "features": lambda: _feature_page(
            client.features.list(collections=["example"], offset_feature_id=EXAMPLE_TEXT_FEATURE, page_size=1)
        ),
        "search": lambda: _search(client),
        "dense": lambda: len(_embedded(client, "multimodal").vector),
        "sparse": lambda: len(_embedded(client, "keyword").indices),
        "task": lambda: _task(client.tasks.get(task_id=TASK)),
        "health": lambda: client.health.check().status,
        "unknown": lambda: refused(lambda: client.assets.get(asset_id="nope")),
        "bad_page": lambda: refused(lambda: client.assets.list(collections=["quickstart"], page=0)),
        "wrong_key": lambda: refused(stranger.collections.list),
        "wrong_namespace": lambda: refused(lambda: client.collections.list(x_namespace="nope")),
    }


def features_of(answer: Any) -> dict[str, Any]:
    """An asset with its features, attribute by attribute: the SDK's own dump drops lists that are not empty."""
    lists = {name: getattr(answer.features, name) for name in ("video", "image", "text", "audio")}
    shown = {name: [one.additional_properties for one in features] for name, features in lists.items()}
    return {"asset_id": answer.asset.asset_id, "features": shown}


def model_sizes(answer: Any) -> dict[str, Any]:
    """Every model with its kind and dimension."""
    return {name: [model.vector_type.value, model.size] for name, model in answer.embedding_models.items()}


def _search(client: Any) -> str:
    query = {"embedding_model": "multimodal", "type": "text", "value": "dog"}
    return type(client.features.search(queries=[query], collections=["quickstart"])).__name__


def _embedded(client: Any, model: str) -> Any:
    return client.feature_extractors.extract_embeddings(type_="text", value="dog", embedding_model=model).embedding


def _page(answer: Any) -> dict[str, Any]:
    return {"rows": [vars(row) for row in answer.results], "pagination": vars(answer.pagination)}


def _feature_page(answer: Any) -> dict[str, Any]:
    rows = [row.additional_properties for row in answer.results]
    return {"rows": rows, "pagination": vars(answer.pagination)}


def _task(answer: Any) -> dict[str, Any]:
    return {"task_id": answer.task_id, "status": answer.status.value}
