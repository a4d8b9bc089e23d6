"""What is spoken in an asset, and when. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from typing import Any

from vectorferry.connector._errors import QuarantineError
from vectorferry.connector._records import Reason
from vectorferry.connector.sources.twelvelabs._spans import Span, span_in

__all__ = ["Entry", "Speech", "read_speech"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A word, a sentence or an utterance; `fields` are what the service says of it beyond its times and words."""

    span: Span
    text: str
    fields: dict[str, Any] = field(default_factory=dict)


class Speech:
    """Entries in the order of their times, each once, and how many could not be read."""

    def __init__(self, entries: Sequence[Entry] = (), unusable: int = 0) -> None:
        in_order = sorted(entries, key=lambda entry: (entry.span, entry.text))
        self.entries = [entry for entry, _ in groupby(in_order)]
        self.unusable = unusable
        self._starts = [entry.span.start for entry in self.entries]
        self._latest_ends = list(accumulate((entry.span.end for entry in self.entries), max))

    def within(self, span: Span) -> str | None:
        """The words of the entries that overlap this span; None when there are none.

        Entries may be whole sentences (the service does not say what they are), so the words of one that reaches over
        a border are in both spans.
        """
        first = bisect_right(self._latest_ends, span.start)
        overlapping = self.entries[first : bisect_left(self._starts, span.end)]
        return " ".join(entry.text for entry in overlapping if entry.span.end > span.start) or None


def read_speech(raw: Any) -> Speech:
    """A transcription as the service gives it; null when nothing is spoken, alone or under `data`.

    Raises `ValueError` when it is no list.
    """
    if isinstance(raw, dict) and "data" in raw:
        raw = raw["data"]
    if not isinstance(raw, list | None):
        raise ValueError("the transcription is not a list")
    entries = list(_entries(raw or []))
    return Speech(entries, len(raw or []) - len(entries))


def _entries(rows: list[Any]) -> Iterator[Entry]:
    for row in rows:
        try:
            yield _entry(row)
        except QuarantineError:
            continue


def _entry(row: Any) -> Entry:
    if not isinstance(row, dict) or not isinstance(row.get("value"), str):
        raise QuarantineError(Reason.MALFORMED, "no value")
    others = {key: value for key, value in row.items() if key not in ("start", "end", "value")}
    return Entry(span_in(row, "start", "end"), row["value"], others)
