"""The records that travel from a source to a destination. Plain values: no I/O, no library types but numpy's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any, TypeAlias, TypeVar, dataclass_transform

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


@dataclass_transform(eq_default=False, frozen_default=True, field_specifiers=(field,))
def record(kind: type[T] | None = None, *, eq: bool = False) -> Any:
    """A dataclass with slots that nobody changes, for what is made by the thousand in a second; compared by identity
    unless `eq`.

    Type checkers hold everybody to that. Python would by a call for each field of each new one, three times as dear as
    the rest of making it (measured: 1.46 µs for an asset rather than 0.42).
    """
    if kind is None:
        return partial(record, eq=eq)
    return dataclass(slots=True, eq=eq, unsafe_hash=eq)(kind)


class Modality(StrEnum):
    """What kind of media a feature describes."""

    VIDEO = "video"
    IMAGE = "image"
    TEXT = "text"
    AUDIO = "audio"


MODALITIES: tuple[Modality, ...] = tuple(Modality)
ALL_MODALITIES: frozenset[Modality] = frozenset(MODALITIES)

DenseVector: TypeAlias = NDArray[np.float32]
"""Shape ``(dimension,)``, dtype float32, C-contiguous."""


@dataclass(frozen=True, slots=True, eq=False)
class SparseVector:
    """Indices (int32, zero-based, ascending, unique) and values (float32) of the same length."""

    indices: NDArray[np.int32]
    values: NDArray[np.float32]


Vector: TypeAlias = DenseVector | SparseVector


class AssetState(StrEnum):
    """Whether the source has finished with an asset. Only ready assets are pulled."""

    READY = "ready"
    PENDING = "pending"
    FAILED = "failed"


@record(eq=True)
class Listing:
    """What a cheap listing says about one asset; `fingerprint` changes whenever the asset may have changed.

    `turn` is for a source whose listings cannot show every change: another one has the asset read again, but is no sign
    that it has changed.
    """

    asset_id: str
    fingerprint: str
    state: AssetState = AssetState.READY
    turn: str = ""


class Reason(StrEnum):
    """Why a record is in quarantine."""

    NOT_FINITE = "not_finite"  # NaN or infinity in a vector
    DIMENSION = "dimension"  # more dimensions than the destination can store, or sparse where dense is configured
    MALFORMED = "malformed"  # not the shape the source documents
    BAD_ID = "bad_id"  # an id the destination cannot take
    BAD_NAME = "bad_name"  # a vector name the destination cannot take
    BAD_VALUE = "bad_value"  # a field that does not fit its typed column
    UNKNOWN_MODALITY = "unknown_modality"
    DUPLICATE_ID = "duplicate_id"  # the same feature id twice in one asset
    ZERO_VECTOR = "zero_vector"  # all numbers are zero, and the destination takes no such vector
    MULTI_VECTOR = "multi_vector"  # a vector for each token, where a destination stores one for each feature
    WITHHELD = "withheld"  # the source holds it and did not give it, however often it was asked for
    TOO_LARGE = "too_large"  # more than the destination takes in one record
    OVER_LIMIT = "over_limit"  # more than the settings let one source make
    UNREADABLE = "unreadable"  # no usable answer came from the source: never set aside, but a failure of its collection
    REFUSED = "refused"  # the store refused it, in its own words


@dataclass(frozen=True, slots=True)
class Rejected:
    """One record set aside. `feature_id` is empty when the whole asset is.

    With a `vector_name` or a `column` it is only that part of the feature, and the rest of it is loaded. `kept` is for
    a destination to say: an earlier version of what was set aside is still stored, and shown.
    """

    asset_id: str
    reason: Reason
    detail: str
    feature_id: str = ""
    modality: str = ""
    vector_name: str = ""
    column: str = ""
    kept: bool = False


@record
class Feature:
    """One described piece of an asset, as the source told it.

    `fields` holds everything the source said that is not an id, a vector or a short-lived address, with
    `metadata` under its own key; unknown fields are kept.
    """

    feature_id: str
    modality: str
    fields: Mapping[str, Any]
    vectors: Mapping[str, Vector] = field(default_factory=dict)


@record
class Asset:
    """One media item with its features: the unit that is replaced as a whole.

    `fields` holds what the source said beyond the named attributes. Times are aware, in UTC. `fingerprint` and `turn`
    are those of its listing.
    """

    asset_id: str
    fingerprint: str
    modality: str | None = None
    url: str | None = None
    status: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    features: tuple[Feature, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    turn: str = ""
