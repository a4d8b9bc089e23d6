"""An index, and the embedding options it was made with; neither ever changes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Index", "index_from"]

BEFORE_3: Final = re.compile(r"^marengo[^0-9]*[12]\.", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Index:
    """`model_name` is the embedding model, None when the index has none (or does not say); `options` are what to ask
    of it, None when it does not say."""

    index_id: str
    name: str | None
    model_name: str | None
    options: tuple[str, ...] | None


def index_from(row: Mapping[str, Any]) -> Index:
    """An index from a row of the list, or its own answer. The id is known to be text."""
    told = row.get("models")
    models = list(_embedding_models(told))
    names = _texts([model.get("model_name") for model in models])
    name = row.get("index_name")
    options = () if told and not models else _options(models)
    return Index(row["_id"], name if isinstance(name, str) else None, next(iter(names), None), options)


def _options(models: list[Mapping[str, Any]]) -> tuple[str, ...] | None:
    """An index that makes embeddings has options. When it names none, asking for none would be as if it had no more
    vectors."""
    options = dict.fromkeys(option for model in models for option in _texts(model.get("model_options")))
    # Asked for by itself, never among an index's options; models before 3.0 have no vectors of spoken words.
    if "audio" in options and not any(BEFORE_3.search(name) for name in _texts([m.get("model_name") for m in models])):
        options["transcription"] = None
    return tuple(options) or None


def _embedding_models(models: Any) -> Iterator[Mapping[str, Any]]:
    """Pegasus, which older indexes have beside Marengo or alone, makes text and no embeddings."""
    for model in models if isinstance(models, list) else ():
        if isinstance(model, dict) and not str(model.get("model_name")).lower().startswith("pegasus"):
            yield model


def _texts(values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []
