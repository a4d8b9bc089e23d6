"""From documents to assets: ids, what changes with them, fields and vectors. Pure; one bad document harms no other.

A document belongs to the object that it was made of, which is the asset then; one that was upserted with vectors of its
own is an asset by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from vectorferry.connector._model._errors import QuarantineError
from vectorferry.connector._model._json import is_too_deep
from vectorferry.connector._model._records import Asset, AssetState, Feature, Listing, Reason, Rejected, Vector
from vectorferry.connector._model._vectors import decode_vector
from vectorferry.connector.http import one_line
from vectorferry.connector.sources._reading import asset_from
from vectorferry.connector.sources._values import fingerprint_of, lasting, moment, read_time
from vectorferry.connector.sources.mixpeek_documents._api import VectorIndex

MultiVectors: TypeAlias = Literal["set_aside", "leave_out"]
Indexes: TypeAlias = Mapping[str, VectorIndex]

INCOMPLETE: Final = "vector_hydration_incomplete"
NAMES: Final = "_vectors"
NAMELESS: Final = "vector"
"""What a vector is called that comes alone, where the collection has several."""

NOT_FIELDS: Final = frozenset(
    {"document_id", "collection_id", "_internal", NAMES, INCOMPLETE, "vectors", "vector", "searchable_at", "score"}
)
"""Ids and vectors have their own places; `searchable_at` is another shard's with every answer."""

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
    lineage = internal_of(row).get("lineage")
    root = lineage.get("root_object_id") if isinstance(lineage, dict) else None
    return root if isinstance(root, str) and root else None


def asset_id_of(row: Mapping[str, Any]) -> str:
    """The asset that a document belongs to."""
    return object_of(row) or str(row["document_id"])


def mark_of(row: Mapping[str, Any]) -> str:
    """32 hexadecimal digits that change whenever a document does: by its time of change and its content's hash. One
    without a time is compared by all that the list says of it."""
    internal = internal_of(row)
    if read_time(internal.get("updated_at")) is None:
        told = {name: value for name, value in row.items() if name not in ("searchable_at", INCOMPLETE)}
        return fingerprint_of(told if is_too_deep(told) else lasting(told))
    status = metadata_of(internal).get("ingestion_status")
    return fingerprint_of([row["document_id"], moment(internal["updated_at"]), internal.get("content_hash"), status])


def state_of(row: Mapping[str, Any]) -> AssetState:
    """Whether Mixpeek has finished with a document; one that does not say is finished."""
    status = metadata_of(internal_of(row)).get("ingestion_status")
    word = status.upper() if isinstance(status, str) else ""
    if word in PENDING:
        return AssetState.PENDING
    return AssetState.FAILED if word in FAILED else AssetState.READY


def metadata_of(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The metadata in some fields; empty when there is none."""
    metadata = fields.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def missing_vectors(row: Mapping[str, Any], indexes: Indexes, left_out: frozenset[str] = frozenset()) -> list[str]:
    """The vectors that an answer should hold and does not: those that it names itself, and where it says that something
    is missing, those of the collection. One without a name where nobody knows which."""
    given = dict(raw_vectors(row, indexes))
    missing = [] if NAMELESS in given else [name for name in _named_in(row) if name not in given]
    if row.get(INCOMPLETE) and not missing:
        missing = [name for name in indexes if name not in given] if indexes else [""]
    return [name for name in missing if name not in left_out]


def _named_in(row: Mapping[str, Any]) -> list[str]:
    names = row.get(NAMES)
    return [name for name in names if isinstance(name, str) and name] if isinstance(names, list) else []


def raw_vectors(row: Mapping[str, Any], indexes: Indexes) -> Iterator[tuple[str, Any]]:
    """Every vector in an answer by its name: at the root under its storage name, in a map, or alone without a name."""
    known = dict.fromkeys((*indexes, *_named_in(row)))
    given: set[str] = set()
    for name in known:
        if row.get(name) is not None and name not in NOT_FIELDS:
            given.add(name)
            yield name, row[name]
    named = row.get("vectors")
    for name, raw in named.items() if isinstance(named, dict) else ():
        if name not in given and raw is not None:
            given.add(name)
            yield name, raw
    if not given and isinstance(row.get("vector"), list | dict):
        yield (next(iter(known)) if len(known) == 1 else NAMELESS), row["vector"]


def feature_from(
    asset_id: str, row: Mapping[str, Any], indexes: Indexes, multi_vectors: MultiVectors
) -> tuple[Feature, list[Rejected]]:
    """The record of a document, without those of its vectors that are unusable or were not given, and these.

    Raises `QuarantineError` for a document that cannot be read at all.
    """
    document_id, modality = str(row["document_id"]), modality_of(row)
    vectors: dict[str, Vector] = {}
    rejected: list[Rejected] = []

    def reject(name: str, reason: Reason, detail: str) -> None:
        detail = f"vector {one_line(name, 60)}: {detail}" if name else detail
        rejected.append(Rejected(asset_id, reason, detail, document_id, modality, name))

    for name, raw in raw_vectors(row, indexes):
        if _is_multi(raw):
            if multi_vectors == "set_aside":
                reject(name, Reason.MULTI_VECTOR, f"{len(raw)} vectors, one for each token; no store here takes those")
            continue
        try:
            vectors[name] = decode_vector(raw)
        except QuarantineError as error:
            reject(name, Reason(error.reason), str(error))
    for name in missing_vectors(row, indexes, left_out(indexes, multi_vectors)):
        if not name:
            raise QuarantineError(Reason.WITHHELD, f"it has vectors that {NOT_GIVEN}")
        reject(name, Reason.WITHHELD, NOT_GIVEN)
    return Feature(document_id, modality, _fields(row, vectors.keys() | indexes.keys()), vectors), rejected


def left_out(indexes: Indexes, multi_vectors: MultiVectors) -> frozenset[str]:
    """The vectors that are not asked for."""
    if multi_vectors == "set_aside":
        return frozenset()
    return frozenset(name for name, index in indexes.items() if index.kind == "multi_dense")


def _is_multi(raw: Any) -> bool:
    return isinstance(raw, list) and bool(raw) and isinstance(raw[0], list)


def modality_of(row: Mapping[str, Any]) -> str:
    """What a document is about: as Mixpeek says, as the kind of its file tells, or as its source does; else text. An
    unknown word stays as it is."""
    internal = internal_of(row)
    mime, blobs = internal.get("mime_type"), internal.get("source_blobs")
    first = blobs[0].get("blob_type") if isinstance(blobs, list) and blobs and isinstance(blobs[0], dict) else None
    words = (internal.get("modality"), mime.partition("/")[0] if isinstance(mime, str) else None, first)
    word = next((each.lower() for each in words if isinstance(each, str) and each), "text")
    return MODALITIES.get(word, word)


def _fields(row: Mapping[str, Any], vector_names: frozenset[str] | set[str]) -> dict[str, Any]:
    internal, payload = internal_of(row), row.get("payload")
    apart = NOT_FIELDS | vector_names | set(_named_in(row))
    fields = {name: value for name, value in row.items() if name not in apart}
    if isinstance(payload, dict) and object_of(row) is None:
        # Where the fields of an upserted document are when it is read is not said: beside its id, or in here.
        fields = {**payload, **{name: value for name, value in fields.items() if name != "payload"}}
    kept = {name: internal[name] for name in KEPT if internal.get(name) is not None}
    fields = {**kept, "created_at": internal.get("created_at"), **fields}
    brought = {name: value for name, value in metadata_of(internal).items() if name not in SYSTEM_METADATA}
    fields["metadata"] = dict(metadata_of(fields) or brought)
    if is_too_deep(fields):
        raise QuarantineError(Reason.MALFORMED, "a field is nested too deeply")
    return {name: value for name, value in lasting(fields).items() if value is not None}


def asset_of(
    listing: Listing, rows: Sequence[Mapping[str, Any]], indexes: Indexes, multi_vectors: MultiVectors
) -> Asset:
    """The asset of these documents, all that it has."""
    features: list[Feature] = []
    rejected: list[Rejected] = []
    for row in sorted(rows, key=_order):
        try:
            feature, bad = feature_from(listing.asset_id, row, indexes, multi_vectors)
        except QuarantineError as error:
            record = Rejected(listing.asset_id, Reason(error.reason), str(error), row["document_id"], modality_of(row))
            rejected.append(record)
            continue
        features.append(feature)
        rejected += bad
    kinds = Counter(feature.modality for feature in features)
    times = [internal_of(row) for row in rows]
    described = {
        "created_at": min((t for each in times if isinstance(t := each.get("created_at"), str)), default=None),
        "updated_at": max((t for each in times if isinstance(t := each.get("updated_at"), str)), default=None),
        "status": next((s for each in times if isinstance(s := metadata_of(each).get("ingestion_status"), str)), None),
    }
    return asset_from(
        listing,
        described,
        modality=kinds.most_common(1)[0][0] if kinds else None,
        url=next((url for row in rows if (url := _source_url(row))), None),
        metadata=_shared([feature.fields["metadata"] for feature in features]),
        fields=_shared([_whole_lineage(row) for row in rows]),
        features=features,
        rejected=rejected,
    )


def _order(row: Mapping[str, Any]) -> tuple[float, str]:
    start = row.get("start_time")
    return (float(start) if isinstance(start, int | float) else 0.0, str(row["document_id"]))


def _whole_lineage(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """What of a document's origin is its object's own."""
    lineage = internal_of(row).get("lineage")
    known = lineage if isinstance(lineage, dict) else {}
    shared = {name: known[name] for name in ("root_object_id", "root_bucket_id", "source_type") if name in known}
    return {**shared, "namespace_id": internal_of(row).get("namespace_id")}


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
    return {name: value for name, value in first.items() if all(name in one and one[name] == value for one in others)}
