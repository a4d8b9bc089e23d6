"""From feature rows to features: ids, fields and vectors. Pure; one bad feature never harms the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from vectorferry.connector._model._errors import QuarantineError
from vectorferry.connector._model._json import canonical_json, is_too_deep
from vectorferry.connector._model._records import Feature, Reason, Rejected, Vector
from vectorferry.connector.http import one_line, segment
from vectorferry.connector.sources._vectors import LiftedVectors

NOT_FIELDS: Final = frozenset(
    {"feature_id", "asset_id", "collection_id", "modality", "vectors", "url", "preview_url", "score"}
)
"""Ids and vectors have their own places; addresses are signed for an hour, and a score belongs to a search."""

INLINE: Final = "embedding"
"""The October form holds a vector without a model's name under this key; it keeps the key as its name."""


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """A feature as the asset's answer lists it. `own_id` is False for a segment whose id we made up."""

    feature_id: str
    modality: str
    row: Mapping[str, Any]
    own_id: bool = True

    @property
    def lacks_vectors(self) -> bool:
        """Whether the vectors have to be asked for one by one."""
        return self.own_id and not self.row.get("vectors") and not _has_inline_vector(self.row)


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """The rows that can be read on, the others, and how many rows had an id that was there before."""

    good: list[FeatureRow]
    rejected: list[Rejected]
    repeated: int


def feature_rows(asset_id: str, rows: list[tuple[str, Any]]) -> FeatureRows:
    """Sort an asset's rows. A row that is there twice, letter by letter, counts once and harms nothing."""
    good: dict[str, FeatureRow] = {}
    rejected: list[Rejected] = []
    repeated = 0
    for place, (modality, row) in enumerate(rows):
        try:
            feature = _feature_row(asset_id, modality, row)
        except QuarantineError as error:
            rejected.append(Rejected(asset_id, Reason(error.reason), str(error), f"{modality}[{place}]", modality))
            continue
        first = good.setdefault(feature.feature_id, feature)
        repeated += first is not feature
        if not _same(first, feature):
            detail = "the asset holds this feature id more than once; the first one counts"
            rejected.append(Rejected(asset_id, Reason.DUPLICATE_ID, detail, feature.feature_id, feature.modality))
    return FeatureRows(list(good.values()), rejected, repeated)


def merged(listed: Mapping[str, Any], detailed: Mapping[str, Any]) -> dict[str, Any]:
    """A feature's listed row, updated with what its own answer says."""
    return {**listed, **{key: value for key, value in detailed.items() if value is not None or key not in listed}}


def feature_from(
    asset_id: str, feature: FeatureRow, row: Mapping[str, Any], lifted: LiftedVectors
) -> tuple[Feature, list[Rejected]]:
    """The record of a feature, without those of its vectors that are unusable, and these. Raises `QuarantineError` when
    its vectors are no object, or a field is nested too deeply."""
    fields = {key: value for key, value in row.items() if key not in NOT_FIELDS}
    raw_vectors = _raw_vectors(row)
    if _has_inline_vector(row):
        del fields[INLINE]
    if is_too_deep(fields):
        raise QuarantineError(Reason.MALFORMED, "a field is nested too deeply")
    vectors: dict[str, Vector] = {}
    rejected: list[Rejected] = []
    for name, raw in raw_vectors:
        try:
            vectors[name] = lifted.take(raw)
        except QuarantineError as error:
            detail = f"vector {one_line(name, 60)}: {error}"
            reason = Reason(error.reason)
            rejected.append(Rejected(asset_id, reason, detail, feature.feature_id, feature.modality, name))
    return Feature(feature.feature_id, feature.modality, fields, vectors), rejected


def _same(one: FeatureRow, other: FeatureRow) -> bool:
    return one is other or (one.modality == other.modality and _json_of(one.row) == _json_of(other.row))


def _json_of(row: Mapping[str, Any]) -> bytes:
    try:
        return canonical_json(row)
    except ValueError:
        return b""


def _feature_row(asset_id: str, place: str, row: Any) -> FeatureRow:
    if not isinstance(row, dict):
        raise QuarantineError(Reason.MALFORMED, "a feature that is not an object")
    modality = row.get("modality")
    modality = modality.lower() if isinstance(modality, str) and modality else place
    feature_id = row.get("feature_id")
    if feature_id is None:
        return FeatureRow(_segment_id(asset_id, row), modality, row, own_id=False)
    return FeatureRow(_checked_id(feature_id), modality, row)


def _checked_id(value: Any) -> str:
    try:
        segment(value)
    except (TypeError, ValueError):
        raise QuarantineError(Reason.MALFORMED, "a feature_id that is not usable text") from None
    return str(value)


def _segment_id(asset_id: str, row: Mapping[str, Any]) -> str:
    """Segments of the October form have no id; their place in the video is what identifies them."""
    try:
        start, end = (round(float(row[key]) * 1000) for key in ("start_time", "end_time"))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise QuarantineError(Reason.MALFORMED, "neither a feature_id nor a start_time and end_time") from None
    return f"{asset_id}:{start}-{end}"


def _raw_vectors(row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The named ones, and then the one without a name, where there is one."""
    named = row.get("vectors")
    if named is not None and not isinstance(named, dict):
        raise QuarantineError(Reason.MALFORMED, "vectors are not an object of name and vector")
    inline = [(INLINE, row[INLINE])] if _has_inline_vector(row) else []
    return [*(named or {}).items(), *inline]


def vector_count(row: Any) -> int:
    """How many vectors a row brings, usable or not."""
    if not isinstance(row, dict):
        return 0
    named = row.get("vectors")
    return (len(named) if isinstance(named, dict) else 0) + _has_inline_vector(row)


def _has_inline_vector(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get(INLINE), list | dict)
