"""What to ask for. Pure but for the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

from vectorferry.connector._config._registry import closest
from vectorferry.connector._model._errors import CollectionError, ConfigurationError
from vectorferry.connector.http import one_line
from vectorferry.connector.sources.twelvelabs._listing import Index

__all__ = ["Asked", "Transcriptions"]

Transcriptions: TypeAlias = Literal["none", "segments", "entries", "sentences", "utterances", "words"]

DAY = 86_400

DOCUMENTED: Final = frozenset({"visual", "audio", "transcription", "visual-text"})
"""The options of the API's reference; `visual-text` is Marengo 2.7's."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user wants of each asset."""

    options: tuple[str, ...] | None
    transcriptions: Transcriptions
    clock: Callable[[], float] = time.time

    def is_recent(self, moment: datetime | None) -> bool:
        """Whether this was less than a day ago: what is still being worked on then will hardly take longer."""
        return moment is not None and self.clock() - moment.timestamp() < DAY

    def check_options(self, indexes: Sequence[Index]) -> None:
        """Raise `ConfigurationError` for an option that is neither documented nor any index's: it would be refused for
        each asset anew."""
        known = sorted(DOCUMENTED.union(*(index.options or () for index in indexes)))
        for option in self.options or ():
            if option not in known:
                raise ConfigurationError(
                    f"source.options: no index has {option}, and the service does not document it "
                    f"(known: {', '.join(known)}){closest(option, known)}"
                )

    def options_of(self, index: Index) -> tuple[str, ...]:
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
