"""What a user may set for this source."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, StringConstraints

from vectorferry.connector._model._records import Modality
from vectorferry.connector._protocols._scale import Load, VectorLoad
from vectorferry.connector.http import ApiClient, ApiSourceSettings
from vectorferry.connector.sources.mixpeek._api import MixpeekApi
from vectorferry.connector.sources.mixpeek._source import MixpeekSource
from vectorferry.connector.sources.mixpeek._submit_settings import MixpeekSubmitSettings

Name = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class MixpeekSettings(ApiSourceSettings):
    """Mixpeek's assets and features API."""

    submit_settings = MixpeekSubmitSettings

    type: Literal["mixpeek"] = "mixpeek"
    api_key: SecretStr = Field(
        default=SecretStr("${MIXPEEK_API_KEY}"), description="a Mixpeek API key with read permission"
    )
    base_url: str = Field(
        default="https://api.mixpeek.com", description="where the API is; the key is sent to this host and no other"
    )
    api_prefix: Literal["auto", "", "/v1"] = Field(
        default="auto", description="what stands before every path; auto: /v1 when the API answers only there"
    )
    namespace: Name | None = Field(
        default=None, description="name or id of the namespace, sent as X-Namespace; none: the key's default"
    )
    collections: tuple[Name, ...] = Field(default=(), description="ids or names of the collections to sync; none: all")
    page_size: int = Field(default=100, ge=1, le=1_000, description="assets listed per request")

    def load(self, features: int) -> Load:
        """Ten features an asset, each with one vector of its multimodal model."""
        vectors = [VectorLoad(Modality.VIDEO, "multimodal-v1", 1408, features)]
        return Load(max(1, features // 10), features, vectors)

    def requests_for(self, load: Load) -> tuple[int, int]:
        """A page of assets each; an asset each, and a feature each with its vectors."""
        return -(-load.assets // self.page_size), load.assets + load.features

    def open(self) -> MixpeekSource:
        """A source with these settings. Raises `ConfigurationError` when the key or the address cannot be used."""
        headers = {"X-Namespace": self.namespace} if self.namespace else {}
        client = ApiClient(self.client_settings(key_variable="MIXPEEK_API_KEY", headers=headers))
        api = MixpeekApi(client, self.api_prefix, self.page_size)
        return MixpeekSource(api, self.collections, self.concurrency, self.namespace, self.limits)
