"""Reads a sandbox with mixpeek 0.15.2, which speaks the API without a prefix."""

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
condition = {"key": "modality", "operator": "eq", "value": "audio"}
submission = {"url": "https://media.example.com/new.mp4", "collection": "quickstart"}

print_answers(
    {
        **common_calls(client, stranger),
        "models": lambda: model_sizes(client.namespaces.list_indexes()),
        "asset_features": lambda: features_of(client.assets.get_features(asset_id=QUICKSTART_VIDEO)),
        "filtered": lambda: [
            row.modality for row in client.assets.list(collections=["quickstart"], filters={"AND": [condition]}).results
        ],
        "submitted": lambda: client.ingest.video_from_url(**submission).status.value,
    }
)
