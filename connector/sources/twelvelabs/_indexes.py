"""Indexes, and what to ask of each. Pure but for the clock."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from vectorferry.connector._model._errors import CollectionError, ConfigurationError
from vectorferry.connector._model._limits import SourceLimits
from vectorferry.connector._model._near import closest
from vectorferry.connector.http import one_line

Transcriptions: TypeAlias = Literal["none", "segments", "entries", "sentences", "utterances", "words"]
DAY: Final = 86_400

DOCUMENTED: Final = frozenset({"visual", "audio", "transcription", "visual-text"})
"""The options of the API's reference; `visual-text` is Marengo 2.7's."""

BEFORE_3: Final = re.compile(r"^marengo[^0-9]*[12]\.", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Index:
    """`model_name` is the embedding model, None when the index has none (or does not say); `options` are what to ask
    of it, None when it does not say."""

    index_id: str
    name: str | None
    model_name: str | None
    options: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a user wants of each asset: which embeddings (None: all), what of what is spoken, and how much at most."""

    options: tuple[str, ...] | None
    transcriptions: Transcriptions
    limits: SourceLimits = field(default_factory=SourceLimits)
    clock: Callable[[], float] = time.time

    def is_recent(self, moment: datetime | None) -> bool:
        """Whether this was less than a day ago: what is still being worked on then will hardly take longer."""
        return moment is not None and self.clock() - moment.timestamp() < DAY

    def check(self, indexes: Sequence[Index]) -> None:
        """Raise `ConfigurationError` for an option that is neither documented nor any index's: it would be refused for
        each asset anew."""
        known = sorted(DOCUMENTED.union(*(index.options or () for index in indexes)))
        for option in self.options or ():
            if option not in known:
                raise ConfigurationError(
                    f"source.options: no index has {option}, and the service does not document it "
                    f"(known: {', '.join(known)}){closest(option, known)}"
                )

    def of(self, index: Index) -> tuple[str, ...]:
        """The embedding options to ask for: what the user wants, as far as the index was made with it.

        Raises `CollectionError` when neither the user nor the index says, or when they have nothing in common.
        """
        if index.options and self.options is not None:
            common = tuple(option for option in self.options if option in index.options)
            if self.options and not common:
                raise CollectionError(
                    f"The index {one_line(index.index_id)} was made with {', '.join(index.options)}, and source.options"
                    " has none of these, so nothing of it is read. Add one: each index is asked for those that it has."
                )
            return common
        options = index.options if self.options is None or index.options == () else self.options
        if options is None:
            raise CollectionError(
                f"The service does not say which embeddings the index {one_line(index.index_id)} has, so nothing of it "
                "is read. Run again; if it stays so, set source.options."
            )
        return options

    @property
    def transcription(self) -> bool:
        """Whether to ask for what is spoken at all."""
        return self.transcriptions != "none"

    @property
    def entries(self) -> bool:
        """Whether what is spoken becomes features of its own."""
        return self.transcriptions not in ("none", "segments")

    @property
    def finer(self) -> Literal["sentences", "utterances", "words"] | None:
        """The parts of an asset's own transcription to ask for, if any."""
        return self.transcriptions if self.transcriptions in ("sentences", "utterances", "words") else None


def index_from(row: Mapping[str, Any]) -> Index:
    """An index from a row of the list, or its own answer. The id is known to be text."""
    all_models = row.get("models")
    models = list(_embedding_models(all_models))
    names = _texts([model.get("model_name") for model in models])
    name = row.get("index_name")
    options = () if all_models and not models else _options(models)
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
