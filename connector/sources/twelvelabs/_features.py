"""From segments and spoken words to features. Pure; one bad segment never harms the others."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import accumulate, groupby
from math import floor
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from vectorferry.connector._model._errors import QuarantineError
from vectorferry.connector._model._json import canonical_json, is_too_deep
from vectorferry.connector._model._records import Feature, Modality, Reason, Rejected, Vector
from vectorferry.connector._model._vectors import NUMBERS, vector_hash
from vectorferry.connector.sources._vectors import LiftedVectors

LONGEST: Final = 1e9
"""Thirty years; NaN is not below it either."""

BELOW: Final = 0.382
"""How much less than a whole millisecond still counts as it."""

VECTOR_KEYS: Final = ("float", "embedding")

TIME_KEYS: Final = (("start_offset_sec", "end_offset_sec"), ("start_sec", "end_sec"))
"""Indexed assets and the first generation of embedding tasks have the first of each, the second the other."""

TEXT: Final = Modality.TEXT.value
OWN_PLACES: Final = frozenset({*VECTOR_KEYS, *(key for keys in TIME_KEYS for key in keys)})

NESTED: Final = frozenset({dict, list})
OPTIONAL_TEXT: Final = frozenset({str, type(None)})

SPOKEN: Final = frozenset({"start", "end", "value"})
"""What every entry of a transcription has."""

PLACES: Final = dict.fromkeys(("start_page_number", "end_page_number", "quadrant", "chunk_index"))
"""What tells parts of documents and pictures apart, as times do in videos."""


class Owner:
    """Whose features they are; ids are made of it."""

    __slots__ = ("_name", "asset_id")

    def __init__(self, collection: str, asset_id: str) -> None:
        self.asset_id = asset_id
        self._name = f"{collection}\0{asset_id}"

    def feature_id(self, parts: tuple[Any, ...]) -> str:
        """32 hexadecimal digits that are always the same for the same part of the same asset."""
        text = "\0".join((self._name, *map(str, parts)))
        return blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


@dataclass(slots=True)
class Features:
    """The features of one asset as they are read, and what of them was set aside."""

    owner: Owner
    good: dict[str, Feature] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)

    def add_segments(
        self,
        rows: list[Any],
        vectors: LiftedVectors,
        *,
        model: str,
        modality: Modality,
        speech: Speech,
        options_named: bool = False,
    ) -> None:
        """One feature for each segment, with one vector, named after the model and the embedding option; of one whose
        vector is unusable, that alone is set aside. Where options are always named, a segment without one is none."""
        kind = modality.value  # which an enumeration looks up anew each time
        segments = _SegmentReader(self.owner, model, speech, options_named=options_named)
        for place, row in enumerate(rows):
            name, vector = f"segment[{place}]", _vector_of(row, vectors)
            try:
                name, vector_name, fields = segments.read(row)
                if isinstance(vector, QuarantineError):
                    self._reject(Reason(vector.reason), str(vector), name, modality, vector_name)
                    self.good.setdefault(name, Feature(name, kind, fields))
                else:
                    self._add(Feature(name, kind, fields, {vector_name: vector}))
            except QuarantineError as error:
                self._reject(Reason(error.reason), str(error), name, modality)

    def add_speech(self, speech: Speech, kind: str) -> None:
        """One feature without a vector for each entry. Two entries at the same time are told apart by their order."""
        seen: dict[tuple[int, int], int] = {}
        for entry in speech.entries:
            start, end = entry.span
            times = entry.span.milliseconds()
            before = seen.get(times, 0)
            seen[times] = before + 1
            feature_id = self.owner.feature_id((kind, *times, before) if before else (kind, *times))
            fields = {**entry.fields, "start_time": start, "end_time": end, "text": entry.text}
            self.good[feature_id] = Feature(feature_id, TEXT, fields)
        if speech.unusable:
            many = "1 entry" if speech.unusable == 1 else f"{speech.unusable:,} entries"
            detail = f"{many} without usable times and words"
            self._reject(Reason.MALFORMED, detail, kind, Modality.TEXT)

    def _add(self, feature: Feature) -> None:
        """Of two at one place the same one stays in every answer, whatever their order there; one with a vector."""
        first = self.good.get(feature.feature_id)
        if first is None or not first.vectors:
            self.good[feature.feature_id] = feature
        elif not _same(first, feature):
            self.good[feature.feature_id] = min(first, feature, key=_rank)
            raise QuarantineError(Reason.DUPLICATE_ID, "there is another segment of the same option, scope and time")

    def _reject(self, reason: Reason, detail: str, name: str, modality: Modality, vector_name: str = "") -> None:
        self.rejected.append(Rejected(self.owner.asset_id, reason, detail, name, modality.value, vector_name))


class _SegmentReader:
    """Reads the segments of one asset. There is one for each option at the same time: what these share is made once."""

    def __init__(self, owner: Owner, model: str, speech: Speech, *, options_named: bool) -> None:
        self._owner = owner
        self._model = model
        self._speech = speech
        self._options_named = options_named
        self._shared: dict[Span, tuple[tuple[int, int], str | None]] = {}

    def read(self, row: Any) -> tuple[str, str, dict[str, Any]]:
        """The feature's id, the vector's name, and all but the vector. Raises `QuarantineError` for what is none."""
        if not isinstance(row, dict):
            raise QuarantineError(Reason.MALFORMED, "a segment that is not an object")
        span, model = _span(row), self._model
        option, scope = self._option_and_scope(row)
        if not NESTED.isdisjoint(map(type, row.values())) and is_too_deep(row):
            raise QuarantineError(Reason.MALFORMED, "a field is nested too deeply")
        fields = {key: value for key, value in row.items() if key not in OWN_PLACES}
        fields["model_name"] = model
        times: tuple[int, ...] = ()
        if span is not None:
            fields["start_time"], fields["end_time"] = span
            times, words = self._shared.get(span) or self._share(span)
            if words:
                fields["transcription"] = words
        places = () if PLACES.keys().isdisjoint(row) else _places(row)
        feature_id = self._owner.feature_id((model, option, scope, *times, *places))
        # Vectors of different options are not alike.
        return feature_id, f"{model}-{option}" if option else model, fields

    def _option_and_scope(self, row: Mapping[str, Any]) -> tuple[str | None, str | None]:
        option, scope = row.get("embedding_option"), row.get("embedding_scope")
        if not OPTIONAL_TEXT.issuperset((type(option), type(scope))):
            key = "embedding_scope" if type(option) in OPTIONAL_TEXT else "embedding_option"
            raise QuarantineError(Reason.MALFORMED, f"{key} is not text")
        if self._options_named and not option:
            raise QuarantineError(Reason.MALFORMED, "a segment without an embedding_option")
        return option, scope

    def _share(self, span: Span) -> tuple[tuple[int, int], str | None]:
        self._shared[span] = shared = span.milliseconds(), self._speech.within(span)
        return shared


def _places(row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(key, row[key]) for key in PLACES if key in row and row[key] is not None]


def _vector_of(row: Any, vectors: LiftedVectors) -> Vector | QuarantineError:
    """The vector, or what is wrong with it. Taken before anything else is looked at: what nobody takes counts as
    somebody's metadata."""
    raw = None
    if isinstance(row, dict):
        usual, other = VECTOR_KEYS
        raw = row.get(usual)
        raw = row.get(other) if raw is None else raw
    if raw is None:
        return QuarantineError(Reason.MALFORMED, "a segment without a vector")
    try:
        return vectors.take(raw)
    except QuarantineError as error:
        return error


def _span(row: Mapping[str, Any]) -> Span | None:
    """None for what is no part of a time: a picture, a page."""
    for start, end in TIME_KEYS:
        if row.get(start) is not None or row.get(end) is not None:
            return span_in(row, start, end)
    return None


def _same(one: Feature, other: Feature) -> bool:
    return one is other or (one.fields == other.fields and _hashes(one) == _hashes(other))


def _rank(feature: Feature) -> tuple[bytes, bytes]:
    return b"".join(_hashes(feature).values()), canonical_json(dict(feature.fields))


def _hashes(feature: Feature) -> dict[str, bytes]:
    return {name: vector_hash(vector) for name, vector in feature.vectors.items()}


class Speech:
    """Entries in the order of their times, each once, and how many could not be read."""

    def __init__(self, entries: Sequence[Entry] = (), unusable: int = 0) -> None:
        self.unusable = unusable
        self.entries = list(entries)
        if len(entries) > 1:
            in_order = sorted(entries, key=lambda entry: (entry.span, entry.text))
            self.entries = [entry for entry, _ in groupby(in_order)]
        self._starts = [entry.span.start for entry in self.entries]
        self._latest_ends = list(accumulate([entry.span.end for entry in self.entries], max))

    def within(self, span: Span) -> str | None:
        """The words of the entries that overlap this span; None when there are none.

        Entries may be whole sentences (the service does not say what they are), so the words of one that reaches over
        a border are in both spans.
        """
        if not self.entries:
            return None
        first = bisect_right(self._latest_ends, span.start)
        overlapping = self.entries[first : bisect_left(self._starts, span.end)]
        return " ".join([entry.text for entry in overlapping if entry.span.end > span.start]) or None


class Entry(NamedTuple):
    """A word, a sentence or an utterance; `fields` are what the service says of it beyond its times and words."""

    span: Span
    text: str
    fields: Mapping[str, Any] = MappingProxyType({})


def read_speech(raw: Any) -> Speech:
    """A transcription as the service gives it; null when nothing is spoken, alone or under `data`.

    Raises `ValueError` when it is no list.
    """
    rows = _spoken(raw)
    if rows is not None and not isinstance(rows, list):
        raise ValueError("the transcription is not a list")
    entries = _entries(rows or [])
    return Speech(entries, len(rows or []) - len(entries))


def speech_length(raw: Any) -> int:
    """How many entries a transcription has, usable or not."""
    entries = _spoken(raw)
    return len(entries) if isinstance(entries, list) else 0


def _spoken(raw: Any) -> Any:
    return raw["data"] if isinstance(raw, dict) and "data" in raw else raw


def _entries(rows: list[Any]) -> list[Entry]:
    entries: list[Entry] = []
    for row in rows:
        try:
            entries.append(_entry(row))
        except QuarantineError:
            continue
    return entries


def _entry(row: Any) -> Entry:
    text = row.get("value") if isinstance(row, dict) else None
    if not isinstance(text, str):
        raise QuarantineError(Reason.MALFORMED, "no value")
    span = span_in(row, "start", "end")
    if len(row) == len(SPOKEN):
        return Entry(span, text)
    return Entry(span, text, {key: value for key, value in row.items() if key not in SPOKEN})


class Span(NamedTuple):
    """Seconds from the beginning of the file."""

    start: float
    end: float

    def milliseconds(self) -> tuple[int, int]:
        """What ids are made of: printed fractions may differ in their last digits. So the border between two
        milliseconds is none of the halves, thirds and tenths that the times of frames often are, to be printed now
        above it, now below."""
        start, end = self
        return floor(start * 1000 + BELOW), floor(end * 1000 + BELOW)


def span_in(row: Mapping[str, Any], start: str, end: str) -> Span:
    """The span under these two keys. Raises `QuarantineError` when either is no number of seconds."""
    first, last = row.get(start), row.get(end)
    if type(first) is float and type(last) is float and -LONGEST <= first <= LONGEST and -LONGEST <= last <= LONGEST:
        return Span(first, last)
    return Span(_seconds(row, start), _seconds(row, end))


def _seconds(row: Mapping[str, Any], key: str) -> float:
    value: Any = row.get(key)
    if type(value) in NUMBERS and abs(value) <= LONGEST:
        return float(value)
    raise QuarantineError(Reason.MALFORMED, f"no usable {key}")
