"""What a user may set for this source."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, StringConstraints

from vectorferry.connector._model._records import Modality
from vectorferry.connector._protocols._scale import Load, VectorLoad
from vectorferry.connector.http import ApiClient, ApiSourceSettings, RetryPolicy
from vectorferry.connector.sources.mixpeek_documents._api import DocumentsApi
from vectorferry.connector.sources.mixpeek_documents._documents import MultiVectors
from vectorferry.connector.sources.mixpeek_documents._source import MixpeekDocumentsSource, ReadOptions
from vectorferry.connector.sources.mixpeek_documents._submit_settings import MixpeekDocumentsSubmitSettings

Name = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class MixpeekDocumentsSettings(ApiSourceSettings):
    """Mixpeek's documents API."""

    submit_settings = MixpeekDocumentsSubmitSettings

    type: Literal["mixpeek-documents"] = "mixpeek-documents"
    api_key: SecretStr = Field(
        default=SecretStr("${MIXPEEK_API_KEY}"), description="a Mixpeek API key with read permission"
    )
    base_url: str = Field(
        default="https://api.mixpeek.com", description="where the API is; the key is sent to this host and no other"
    )
    namespace: Name = Field(
        default="${MIXPEEK_NAMESPACE}", description="name or id of the namespace to read, sent as X-Namespace"
    )
    collections: tuple[Name, ...] = Field(
        default=(),
        description="ids or names of the collections to sync; none: all, and what was upserted without one",
    )
    # Mixpeek's own benchmark failed at 32 readers.
    concurrency: int = Field(default=10, ge=1, le=256, description="requests in flight, and partitions of a list")
    # A cold store may answer 503 for two minutes.
    retry: RetryPolicy = Field(
        default=RetryPolicy(attempts=12), description="when and how long failed requests are tried again"
    )
    page_size: int = Field(default=1_000, ge=1, le=1_000, description="documents listed per request")
    vectors_per_request: int = Field(
        default=1_000, ge=1, le=1_000, description="documents read with vectors per request; fewer where they are long"
    )
    multi_vectors: MultiVectors = Field(
        default="set_aside",
        description="what becomes of vectors per token, which no store here takes: quarantine, or leave_out in silence",
    )
    scoped_key: bool = Field(
        default=False,
        description="the key is meant to see a part of each collection only; else one that does deletes nothing",
    )
    follow_events: bool = Field(
        default=True, description="list nothing while the change feed has no event; false: list at every run"
    )
    feed_delay_minutes: float = Field(
        default=10, ge=0, le=1_440, description="how long documents may show a change later than its event"
    )

    def load(self, features: int) -> Load:
        """Ten documents an object, each with one vector of the multimodal extractor."""
        vectors = [VectorLoad(Modality.VIDEO, "multimodal_extractor_v1_multimodal_embedding", 1408, features)]
        return Load(max(1, features // 10), features, vectors)

    def requests_for(self, load: Load) -> tuple[int, int]:
        """A page of documents each, and as many documents each as are read together. Documents that are assets of their
        own come with their vectors as they are listed."""
        read = -(-load.features // self.vectors_per_request)
        return (0, read) if self._read_as_listed(load) else (-(-load.features // self.page_size), read)

    def rows_for(self, load: Load) -> int:
        """A document when it is listed, and when it is read with its vectors; once where these are the same."""
        return load.features if self._read_as_listed(load) else 2 * load.features

    @staticmethod
    def _read_as_listed(load: Load) -> bool:
        return load.assets == load.features

    def open(self) -> MixpeekDocumentsSource:
        """A source with these settings. Raises `ConfigurationError` when the key or the address cannot be used."""
        headers = {"X-Namespace": self.namespace}
        client = ApiClient(self.client_settings(key_variable="MIXPEEK_API_KEY", headers=headers))
        options = ReadOptions(
            concurrency=self.concurrency,
            page_size=self.page_size,
            vectors_per_request=self.vectors_per_request,
            multi_vectors=self.multi_vectors,
            scoped_key=self.scoped_key,
            follow_events=self.follow_events,
            feed_delay_minutes=self.feed_delay_minutes,
            limits=self.limits,
        )
        return MixpeekDocumentsSource(DocumentsApi(client, self.namespace), self.collections, options)
