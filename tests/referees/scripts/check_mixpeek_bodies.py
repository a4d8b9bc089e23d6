"""Has the models of an installed mixpeek read the bodies of submissions that come in on stdin, by what they are.

Prints what each makes of its body: what a model does not know is not in there any more.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def _ingested(kind: str, body: Any) -> Any:
    from mixpeek import models  # type: ignore[import-not-found]

    model = {"video": models.ProcessVideoURLInput, "image": models.ProcessImageURLInput}[kind]
    return model.model_validate(body).model_dump(by_alias=True, mode="json", exclude_unset=True)


def _indexed(body: Any) -> Any:
    """Release 0.11 has types and no models, one video setting and no list of them, which the guide has."""
    from mixpeek.types import index_url_params as types  # type: ignore[import-not-found]
    from pydantic import ConfigDict, TypeAdapter

    for name in types.__all__:
        getattr(types, name).__pydantic_config__ = ConfigDict(extra="forbid")
    (video,) = body["video_settings"]
    read = TypeAdapter(types.IndexURLParams).validate_python({**body, "video_settings": video}, strict=True)
    return {**read, "video_settings": [read["video_settings"]]}


bodies = json.load(sys.stdin)
json.dump(
    {name: _indexed(body) if name == "index" else _ingested(name, body) for name, body in bodies.items()}, sys.stdout
)
