"""Reads a sandbox with mixpeek 0.19.13, which speaks the API under /v1."""

from __future__ import annotations

import sys

import mixpeek  # type: ignore[import-not-found]
from asking import (  # type: ignore[import-not-found]
    QUICKSTART_VIDEO,
    common_calls,
    features_of,
    model_sizes,
    print_answers,
)

url, key, _ = sys.argv[1:]
client = mixpeek.Mixpeek(token=key, server_url=url)
stranger = mixpeek.Mixpeek(token="sk_wrong", server_url=url)
submission = {"url": "https://media.example.com/new.mp4", "collection": "quickstart"}

print_answers(
    {
        **common_calls(client, stranger),
        "models": lambda: model_sizes(client.namespaces.list_models()),
        "asset_features": lambda: features_of(client.assets.get_with_features(asset_id=QUICKSTART_VIDEO)),
        "unfinished": lambda: [task.status.value for task in client.tasks.list_active(page=1, page_size=2).results],
        "submitted": lambda: client.ingest_assets.ingest_video_url(**submission).status.value,
    }
)
