"""From rows of a list to indexes and listings. Pure."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from vectorferry.connector._model._json import canonical_json, is_too_deep
from vectorferry.connector._model._records import AssetState
from vectorferry.connector.sources._pages import read_time

__all__ = [
    "Index",
    "digest",
    "index_from",
    "moment",
    "state_of",
    "system_metadata",
]


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


# From rows of a list to listings. Pure.


def state_of(row: Mapping[str, Any]) -> AssetState:
    """Whether TwelveLabs has finished with it: pending, queued, indexing, validating and what nobody knows yet are
    waited for. The older list of videos has no status at all."""
    status = row.get("status")
    if status in (None, "ready"):
        return AssetState.READY
    return AssetState.FAILED if status == "failed" else AssetState.PENDING


def system_metadata(row: Mapping[str, Any]) -> Any:
    """What the service found out about a file; `metadata` is what this was called before."""
    return row["system_metadata"] if "system_metadata" in row else row.get("metadata")


def moment(value: Any) -> Any:
    """A time in one spelling, however many digits of its second's fraction were printed; anything else as it is."""
    time = read_time(value)
    return value if time is None else time.isoformat()


def digest(*told: Any) -> str:
    """32 hexadecimal digits over JSON values; other ones each time for what is nested too deeply to compare."""
    values = list(told)
    if is_too_deep(values):
        return secrets.token_hex(16)
    return blake2b(canonical_json(values), digest_size=16).hexdigest()
