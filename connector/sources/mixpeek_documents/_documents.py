"""From documents to assets: ids, what changes with them, fields and vectors. Pure; one bad document harms no other.

A document belongs to the object that it was made of, which is the asset then; one that was upserted with vectors of its
own is an asset by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Self, TypeAlias

import numpy as np

from vectorferry.connector._model._errors import QuarantineError
from vectorferry.connector._model._json import is_too_deep
from vectorferry.connector._model._records import Asset, AssetState, Feature, Listing, Reason, Rejected, Vector
from vectorferry.connector._model._vectors import decode_vector
from vectorferry.connector.http import one_line
from vectorferry.connector.sources._reading import asset_from
from vectorferry.connector.sources._values import fingerprint_of, lasting, read_time, time_text
from vectorferry.connector.sources.mixpeek_documents._api import VECTORS, Query, VectorIndex

MultiVectors: TypeAlias = Literal["set_aside", "leave_out"]
Indexes: TypeAlias = Mapping[str, VectorIndex]

NUMBERS_PER_REQUEST: Final = 1_200_000
"""So many numbers take some 15 to 25 MB in an answer: a thousand documents of 1,024."""

INCOMPLETE: Final = "vector_hydration_incomplete"
NAMES: Final = "_vectors"
NAMELESS: Final = "vector"
"""What a vector is called that comes alone, where the collection has several."""

NOT_FIELDS: Final = frozenset(
    {"document_id", "collection_id", "_internal", NAMES, INCOMPLETE, "vectors", "vector", "searchable_at", "score"}
)
"""Ids and vectors have their own places; `searchable_at` is another shard's with every answer."""

ALONE: Final = (list, dict, np.ndarray, QuarantineError)
"""What a vector without a name may be: as it is spelled, lifted from the answer, or why that could not be done."""

KEPT: Final = ("lineage", "mime_type", "content_hash", "size_bytes")
"""What of ``_internal`` stays with a feature, beside its times and its metadata."""

MODALITIES: Final = {
    "video": "video",
    "image": "image",
    "audio": "audio",
    "text": "text",
    "pdf": "text",
} | dict.fromkeys(("document", "application", "excel", "json", "string", "html"), "text")
"""Mixpeek's words for what a document is about. What is read from a paper is text."""

NOT_GIVEN: Final = "Mixpeek holds and did not give, however often it was asked"

SYSTEM_METADATA: Final = frozenset({"ingestion_status", "feature_extractor_config_hash"})
"""What Mixpeek keeps beside the metadata that came with an upserted document."""

PENDING: Final = frozenset({"PENDING", "QUEUED", "IN_PROGRESS", "PROCESSING", "DRAFT"})
FAILED: Final = frozenset({"FAILED", "CANCELED", "CANCELLED", "INTERRUPTED"})


def internal_of(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """What Mixpeek itself keeps of a document; empty when the answer does not say."""
    internal = row.get("_internal")
    return internal if isinstance(internal, dict) else {}


def object_of(row: Mapping[str, Any]) -> str | None:
    """The object that a document was made of, None for one that somebody brought."""
    return _root_of(internal_of(row))


def _root_of(internal: Mapping[str, Any]) -> str | None:
    lineage = internal.get("lineage")
    root = lineage.get("root_object_id") if isinstance(lineage, dict) else None
    return root if isinstance(root, str) and root else None


def is_brought_with_time(row: Mapping[str, Any]) -> bool:
    """Whether a document is an asset by itself, and tells when it has changed."""
    internal = internal_of(row)
    return _root_of(internal) is None and read_time(internal.get("updated_at")) is not None


def asset_id_of(row: Mapping[str, Any]) -> str:
    """The asset that a document belongs to."""
    return object_of(row) or str(row["document_id"])


class ListedDocument(NamedTuple):
    """What a cheap list says of a document. `mark` is 32 hexadecimal digits that change whenever the document does: by
    its time of change and its content's hash. One without a time is compared by all that the list says of it."""

    document_id: str
    object_id: str | None
    mark: str
    state: AssetState

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """The document of a row that has an id. One that does not say that it is unfinished is finished."""
        internal = internal_of(row)
        status = metadata_of(internal).get("ingestion_status")
        state = state_of(status if isinstance(status, str) else None)
        return cls(row["document_id"], _root_of(internal), _mark_of(row, internal, status), state)


def _mark_of(row: Mapping[str, Any], internal: Mapping[str, Any], status: Any) -> str:
    time = time_text(internal.get("updated_at"))
    if time is None:
        told = {name: value for name, value in row.items() if name not in ("searchable_at", INCOMPLETE)}
        return fingerprint_of(told if is_too_deep(told) else lasting(told))
    return fingerprint_of([row["document_id"], time, internal.get("content_hash"), status])


def state_of(status: str | None) -> AssetState:
    """Whether Mixpeek has finished with a document, as it words it."""
    word = (status or "").upper()
    if word in PENDING:
        return AssetState.PENDING
    return AssetState.FAILED if word in FAILED else AssetState.READY


def _status_of(internal: Mapping[str, Any]) -> str | None:
    status = metadata_of(internal).get("ingestion_status")
    return status if isinstance(status, str) else None


def metadata_of(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The metadata in some fields; empty when there is none."""
    metadata = fields.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


@dataclass(frozen=True, slots=True)
class VectorsAskedFor:
    """The vectors that a collection has (`indexes`), what becomes of multi-vectors, and those `left_out` of what is
    asked for, which is `query`: by name where some are left out, so that they are not even sent."""

    indexes: Indexes
    multi_vectors: MultiVectors
    left_out: frozenset[str]
    apart: frozenset[str]
    """Keys of a document that are no fields of it."""
    names: tuple[str, ...]
    query: Query

    @classmethod
    def of(cls, indexes: Indexes, multi_vectors: MultiVectors) -> Self:
        """As the settings ask for them."""
        multi = frozenset(name for name, index in indexes.items() if index.kind == "multi_dense")
        left_out = frozenset[str]() if multi_vectors == "set_aside" else multi
        names = [name for name in indexes if name not in left_out]
        query = {"return_vector_names": names} if 0 < len(names) < len(indexes) else VECTORS
        return cls(indexes, multi_vectors, left_out, NOT_FIELDS | indexes.keys(), tuple(indexes), query)

    def per_request(self, most: int) -> int:
        """How many documents are read at once: fewer of those with many numbers."""
        numbers = sum(index.dimensions or 0 for index in self.indexes.values())
        return max(1, min(most, NUMBERS_PER_REQUEST // numbers)) if numbers else most


class Document:
    """One document that was read, each part of it looked up once.

    `missing` are the vectors that the answer should hold and does not: those that it names itself, and where it says
    that something is missing, those of the collection. One without a name where nobody knows which.
    """

    __slots__ = ("asset_id", "document_id", "internal", "missing", "names", "row", "vectors")

    def __init__(self, row: Mapping[str, Any], asked_for: VectorsAskedFor) -> None:
        self.row = row
        self.document_id = str(row["document_id"])
        self.internal = internal_of(row)
        self.asset_id = _root_of(self.internal) or self.document_id
        self.names = _named_in(row)
        self.vectors = _raw_vectors(row, asked_for.indexes, self.names)
        self.missing = self._missing(asked_for)

    @property
    def is_brought(self) -> bool:
        """Whether it was made of no object."""
        return _root_of(self.internal) is None

    @property
    def is_timed(self) -> bool:
        """Whether it tells when it has changed."""
        return read_time(self.internal.get("updated_at")) is not None

    def _missing(self, asked_for: VectorsAskedFor) -> list[str]:
        given, indexes = self.vectors, asked_for.indexes
        missing = [] if NAMELESS in given else [name for name in self.names if name not in given]
        if not missing and self.row.get(INCOMPLETE):
            missing = [name for name in indexes if name not in given] if indexes else [""]
        return [name for name in missing if name not in asked_for.left_out]


def _named_in(row: Mapping[str, Any]) -> list[str]:
    names = row.get(NAMES)
    return [name for name in names if isinstance(name, str) and name] if isinstance(names, list) else []


def _raw_vectors(row: Mapping[str, Any], indexes: Indexes, names: Sequence[str]) -> dict[str, Any]:
    """Every vector in an answer by its name: at the root under its storage name, in a map, or alone without a name."""
    given: dict[str, Any] = {}
    for name in (*indexes, *names):
        if (raw := row.get(name)) is not None and name not in NOT_FIELDS:
            given[name] = raw
    named = row.get("vectors")
    for name, raw in named.items() if isinstance(named, dict) else ():
        if raw is not None:
            given.setdefault(name, raw)
    if not given and isinstance(raw := row.get("vector"), ALONE):
        known = {*indexes, *names}
        given[next(iter(known)) if len(known) == 1 else NAMELESS] = raw
    return given


def feature_from(asset_id: str, document: Document, asked_for: VectorsAskedFor) -> tuple[Feature, list[Rejected]]:
    """The record of a document, without those of its vectors that are unusable or were not given, and these.

    Raises `QuarantineError` for a document that cannot be read at all.
    """
    modality = _modality_in(document.internal)
    vectors: dict[str, Vector] = {}
    rejected: list[Rejected] = []

    def reject(name: str, reason: Reason, detail: str) -> None:
        detail = f"vector {one_line(name, 60)}: {detail}" if name else detail
        rejected.append(Rejected(asset_id, reason, detail, document.document_id, modality, name))

    for name, raw in document.vectors.items():
        if _is_multi(raw):
            if asked_for.multi_vectors == "set_aside":
                reject(name, Reason.MULTI_VECTOR, f"{len(raw)} vectors, one for each token; no store here takes those")
            continue
        try:
            vectors[name] = _decoded(raw)
        except QuarantineError as error:
            reject(name, Reason(error.reason), str(error))
    for name in document.missing:
        if not name:
            raise QuarantineError(Reason.WITHHELD, f"it has vectors that {NOT_GIVEN}")
        reject(name, Reason.WITHHELD, NOT_GIVEN)
    return Feature(document.document_id, modality, _fields(document, asked_for), vectors), rejected


def _decoded(raw: Any) -> Vector:
    """A vector as it was lifted from the answer, or as the answer spells it."""
    if isinstance(raw, np.ndarray):
        return raw
    if isinstance(raw, QuarantineError):
        raise raw
    return decode_vector(raw)


def _is_multi(raw: Any) -> bool:
    return isinstance(raw, list) and bool(raw) and isinstance(raw[0], list)


def modality_of(row: Mapping[str, Any]) -> str:
    """What a document is about: as Mixpeek says, as the kind of its file tells, or as its source does; else text. An
    unknown word stays as it is."""
    return _modality_in(internal_of(row))


def _modality_in(internal: Mapping[str, Any]) -> str:
    mime, blobs = internal.get("mime_type"), internal.get("source_blobs")
    first = blobs[0].get("blob_type") if isinstance(blobs, list) and blobs and isinstance(blobs[0], dict) else None
    words = (internal.get("modality"), mime.partition("/")[0] if isinstance(mime, str) else None, first)
    word = next((each.lower() for each in words if isinstance(each, str) and each), "text")
    return MODALITIES.get(word, word)


def _fields(document: Document, asked_for: VectorsAskedFor) -> dict[str, Any]:
    row, internal = document.row, document.internal
    apart, own = asked_for.apart, {*document.vectors, *document.names}
    fields = {name: internal[name] for name in KEPT if name in internal}
    fields["created_at"] = internal.get("created_at")
    if document.is_brought and isinstance(payload := row.get("payload"), dict):
        # Where the fields of an upserted document are when it is read is not said: beside its id, or in here.
        fields |= payload
        own.add("payload")
    fields |= {name: value for name, value in row.items() if name not in apart and name not in own}
    metadata = metadata_of(fields) or {
        name: value for name, value in metadata_of(internal).items() if name not in SYSTEM_METADATA
    }
    try:
        fields = lasting({**fields, "metadata": metadata})
    except RecursionError:
        raise QuarantineError(Reason.MALFORMED, "a field is nested too deeply") from None
    return {name: value for name, value in fields.items() if value is not None}


def asset_of(listing: Listing, documents: Sequence[Document], asked_for: VectorsAskedFor) -> Asset:
    """The asset of these documents, all that it has."""
    features: list[Feature] = []
    rejected: list[Rejected] = []
    for document in sorted(documents, key=_order) if len(documents) > 1 else documents:
        try:
            feature, bad = feature_from(listing.asset_id, document, asked_for)
        except QuarantineError as error:
            where = (document.document_id, _modality_in(document.internal))
            rejected.append(Rejected(listing.asset_id, Reason(error.reason), str(error), *where))
            continue
        features.append(feature)
        rejected += bad
    internals = [document.internal for document in documents]
    described = {
        "created_at": min(_texts("created_at", internals), default=None),
        "updated_at": max(_texts("updated_at", internals), default=None),
        "status": next((status for each in internals if (status := _status_of(each)) is not None), None),
    }
    return asset_from(
        listing,
        described,
        modality=_most_common([feature.modality for feature in features]),
        url=next((url for document in documents if (url := _source_url(document.row))), None),
        metadata=_shared([feature.fields["metadata"] for feature in features]),
        fields=_shared([_whole_lineage(each) for each in internals]),
        features=features,
        rejected=rejected,
    )


def _texts(name: str, internals: Sequence[Mapping[str, Any]]) -> list[str]:
    return [text for each in internals if isinstance(text := each.get(name), str)]


def _most_common(modalities: Sequence[str]) -> str | None:
    if len(modalities) < 2:
        return modalities[0] if modalities else None
    return Counter(modalities).most_common(1)[0][0]


def _order(document: Document) -> tuple[float, str]:
    start = document.row.get("start_time")
    return (float(start) if isinstance(start, int | float) else 0.0, document.document_id)


def _whole_lineage(internal: Mapping[str, Any]) -> Mapping[str, Any]:
    """What of a document's origin is its object's own."""
    lineage = internal.get("lineage")
    known = lineage if isinstance(lineage, dict) else {}
    shared = {name: known[name] for name in ("root_object_id", "root_bucket_id", "source_type") if name in known}
    return {**shared, "namespace_id": internal.get("namespace_id")}


def _source_url(row: Mapping[str, Any]) -> str | None:
    blobs = row.get("document_blobs")
    for blob in blobs if isinstance(blobs, list) else ():
        if isinstance(blob, dict) and blob.get("role") == "source" and isinstance(blob.get("url"), str):
            return str(blob["url"])
    return None


def _shared(mappings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all of these say alike."""
    if not mappings:
        return {}
    first, *others = mappings
    if not others:
        return dict(first)
    return {name: value for name, value in first.items() if all(name in one and one[name] == value for one in others)}
