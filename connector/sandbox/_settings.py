"""What a sandbox serves and how it behaves, as typed values."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from secrets import token_urlsafe
from typing import Literal, TypeVar

from pydantic import Field

from vectorferry.connector._model._settings_base import Settings
from vectorferry.connector.sandbox._faults import Fault

Item = TypeVar("Item")


class GeneratedCatalogue(Settings):
    """A catalogue of any size whose vectors are cheap, deterministic noise, made when they are asked for."""

    assets: int = Field(default=1_000, ge=0, le=10_000_000)
    features_per_asset: int = Field(default=10, ge=0, le=10_000)
    dimension: int = Field(default=1408, ge=1, le=16_000)
    vector_name: str = "multimodal-v1"
    modality: Literal["video", "image", "text", "audio"] = "video"
    collections: tuple[str, ...] = Field(
        default=("generated",), min_length=1, description="assets are dealt out in turn"
    )
    seed: int = 0


class GeneratedIndexes(Settings):
    """TwelveLabs indexes of any size, with noise for vectors: assets x segments x options of them."""

    assets: int = Field(default=200, ge=0, le=1_000_000)
    segments_per_asset: int = Field(default=30, ge=0, le=10_000)
    options: tuple[Literal["visual", "audio", "transcription"], ...] = ("visual", "audio", "transcription")
    dimension: int = Field(default=512, ge=1, le=16_000)
    model_name: str = "marengo3.0"
    indexes: tuple[str, ...] = Field(default=("generated",), min_length=1, description="assets are dealt out in turn")
    printed: bool = Field(default=False, description="print all vectors at once, not when they are asked for")
    seed: int = 0


class GeneratedDocuments(Settings):
    """Collections of any size of Mixpeek's documents, with noise for vectors, made when they are asked for."""

    documents: int = Field(default=1_000, ge=0, le=10_000_000)
    documents_per_object: int = Field(
        default=0, ge=0, le=10_000, description="documents that one object was made into; 0: a standalone namespace"
    )
    dimension: int = Field(default=1024, ge=1, le=16_000)
    vector_name: str = "text_extractor_v1_embedding"
    modality: Literal["video", "image", "text", "audio"] = "text"
    collections: tuple[str, ...] = Field(
        default=("generated",), min_length=1, description="objects, or documents, are dealt out in turn"
    )
    namespace: str = "generated"
    seed: int = 0


class MixpeekDialect(Settings):
    """Which of the ways Mixpeek's generation-1 API has been documented to answer is served."""

    prefixes: Literal["both", "none", "v1"] = Field(default="both", description="paths with or without /v1 in front")
    body_field: Literal["both", "collections", "collection_ids"] = "both"
    refuse_unknown_keys: bool = Field(default=False, description="422 for a body key the API does not declare")
    vector_flag: Literal["both", "include_vectors", "return_vectors"] = "both"
    features_reply: Literal["features", "video_segments"] = Field(
        default="features", description="video_segments: videos are answered page by page, ten segments at a time"
    )
    null_for_empty: bool = Field(default=False, description="null where a list of features would be empty")
    timestamps: Literal["mixed", "zulu"] = Field(
        default="mixed", description="mixed: assets in milliseconds without a zone, features in microseconds with Z"
    )
    page_size_cap: int | None = Field(default=None, ge=1, description="more rows than this are never put on a page")
    errors: Literal["envelope", "detail", "flat"] = Field(
        default="envelope",
        description="envelope: {success,status,error}; detail: {detail:[{msg}]}; flat: {error,message}",
    )
    namespaces: tuple[str, ...] = Field(default=("default",), min_length=1)
    namespace_shares: dict[str, float] = Field(
        default={}, description="by namespace, the share of each collection's assets that is in it; else all are"
    )
    release: Literal["all", "2024-11", "2024-12", "2025-01"] = Field(
        default="all",
        description="which ways to submit and search there are: /index with model_id and /features/search/text; /index "
        "with vector_index and feature_extractors; /ingest and /features/search; all of them",
    )
    organizations: bool = Field(default=True, description="false: 404 for the organisation that a key belongs to")


class MixpeekDocumentsDialect(Settings):
    """How Mixpeek's documents API answers where its own pages leave it open, or where it has answered differently."""

    refuse_unknown_keys: bool = Field(default=True, description="422 for a body key that the API does not declare")
    vectors_at: Literal["root", "vectors", "vector"] = Field(
        default="root", description="under their storage names, in one map, or as the only vector there is"
    )
    payload_at: Literal["root", "payload"] = Field(default="root", description="fields of documents that were upserted")
    total_of: Literal["whole", "partition"] = Field(default="whole", description="what a partition's total counts")
    filters: Literal["honoured", "refused", "ignored"] = Field(
        default="honoured", description="what becomes of a filter on the id of a document or of its object"
    )
    dotted_select: bool = Field(default=True, description="false: a list with `select` leaves out _internal")
    events: bool = Field(default=True, description="false: 404 for the change feed")
    events_kept: int | None = Field(default=None, ge=0, description="the newest so many, as if the others were too old")
    expired_cursor: Literal["refused", "restarted"] = Field(
        default="refused", description="a cursor from before the oldest event: 400, or as if there were none"
    )
    document_counts: bool = Field(default=True, description="a collection says how many documents it has")
    sorted_scan: int = Field(default=10_000, ge=1, description="so many documents are looked at for a sorted list")
    namespace_shares: dict[str, float] = Field(
        default={},
        description="by the name of a further namespace, the share of each collection that it shows of the first one",
    )
    organizations: bool = Field(default=True, description="false: 404 for the organisation that a key belongs to")


class PineconeRates(Settings):
    """How much may be asked in any `seconds`; what is over gets a 429. The defaults are as Pinecone documents them."""

    seconds: float = Field(default=1.0, gt=0)
    requests: int = Field(default=100, ge=1, description="of upsert, query, update and delete each, per namespace")
    upserted_bytes: int = Field(default=50_000_000, ge=1, description="per namespace; 4 a value, plus metadata and ids")
    deleted_records: int = Field(default=5_000, ge=1, description="per index")
    retry_after: bool = Field(default=True, description="say in Retry-After how many whole seconds to wait")


class PineconeDialect(Settings):
    """How Pinecone behaves where it differs by plan or by load, or where what is known of it is not certain."""

    visible_after_ms: float = Field(default=0.0, ge=0, description="how long reads do not see a write yet")
    request_bytes: int = Field(default=2_000_000, ge=1, description="the largest upsert")
    size_rule: Literal["float32", "body"] = Field(
        default="float32", description="float32: 4 bytes a value, plus metadata and ids; body: the request as sent"
    )
    oversize_status: Literal[400, 413] = Field(default=413, description="413 has no body, 400 has code 11")
    delete_all_removes_namespace: bool = False
    max_indexes: int = Field(default=20, ge=1)
    rates: PineconeRates | None = None


class TwelveLabsDialect(Settings):
    """How TwelveLabs answers where its documents disagree, or where what it does is not known."""

    indexed_assets: bool = Field(default=True, description="false: 404, so that only the legacy videos are left")
    system_metadata: Literal["system_metadata", "metadata"] = "system_metadata"
    upload_metadata: bool = Field(default=True, description="false: what an upload says of itself is not kept")
    asset_ids: bool = Field(default=True, description="an indexed asset names the upload that it comes from")
    expires_at: bool = Field(default=False, description="indexes end 90 days after they were made; false: null")
    null_data: bool = Field(default=False, description="null where a list would be empty")
    date_digits: Literal[0, 2, 3] = Field(default=3, description="of the fraction of a second")
    edits_move_updated_at: bool = Field(default=True, description="a change of the metadata moves it")
    transcription: Literal["sentences", "words"] = "sentences"
    silence: Literal["null", "empty"] = Field(default="null", description="the transcription where nobody speaks")
    segment_order: Literal["by_time", "shuffled"] = "by_time"
    whole_asset: Literal["none", "video", "asset"] = Field(
        default="none", description="the scope of one more segment per option that is as long as the asset"
    )
    signed: Literal["thumbnails", "all", "none"] = Field(
        default="thumbnails", description="addresses that are new in every answer"
    )
    missing: Literal["declared", "400", "403", "404"] = Field(
        default="declared", description="the status for what is not there; declared: 400 or 404, as documented"
    )
    shared_tasks: bool = Field(default=False, description="both kinds of embedding tasks are in both lists")
    requests_per_day: int | None = Field(default=None, ge=1, description="what is over gets a 429 until the day ends")
    rate_headers: bool = Field(default=True, description="X-Ratelimit-* on every answer, where there is a limit")
    rate_body: Literal["json", "text", "empty"] = "json"


class SandboxKey(Settings):
    """One more key. A scoped one sees a part of what there is, as if the rest were not there."""

    api_key: str = Field(min_length=1)
    organization: str = "org_sandbox"
    share: float = Field(default=1, ge=0, le=1, description="share of each collection's assets that it sees")
    reads_organization: bool = Field(default=True, description="false: 403 when it asks whose key it is")


class Keys:
    """The sandbox's own key, which sees everything, and those that the settings add."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._by_text = {key.api_key: key for key in (*settings.keys, SandboxKey(api_key=settings.api_key))}

    def get(self, text: str | None) -> SandboxKey | None:
        """The key of this text, if there is one."""
        return self._by_text.get(text or "")

    def narrow(self, text: str, share: float) -> None:
        """From now on this key sees only such a share. Raises `KeyError` for one that there is not."""
        self._by_text[text] = self._by_text[text].model_copy(update={"share": share})


def visible(items: Mapping[str, Item], share: float) -> dict[str, Item]:
    """The last items, as many as are this share of all: a list of the others is no shorter at its end."""
    return dict(islice(items.items(), len(items) - round(share * len(items)), None))


class SandboxSettings(Settings):
    """Everything about one sandbox. The defaults serve the described catalogue, fast and without faults."""

    api_key: str = "sk_sandbox"
    control_key: str = Field(default_factory=token_urlsafe, min_length=1, description="what /_sandbox asks for")
    keys: tuple[SandboxKey, ...] = Field(default=(), description="further keys for Mixpeek and TwelveLabs")
    mixpeek: MixpeekDialect = MixpeekDialect()
    pinecone: PineconeDialect = PineconeDialect()
    twelvelabs: TwelveLabsDialect = TwelveLabsDialect()
    generate: GeneratedCatalogue | None = Field(
        default=None, description="serve this in place of the described catalogue"
    )
    generate_twelvelabs: GeneratedIndexes | None = Field(default=None, description="the same for TwelveLabs' indexes")
    documents: MixpeekDocumentsDialect = MixpeekDocumentsDialect()
    generate_documents: GeneratedDocuments | None = Field(
        default=None, description="the same for Mixpeek's collections of documents"
    )
    requests_per_second: int | None = Field(
        default=None, ge=1, description="of everybody; what is over gets a 429, after a second's worth at once"
    )
    latency_ms: float = Field(default=0.0, ge=0, description="how long every answer of an API waits")
    faults: tuple[Fault, ...] = ()
