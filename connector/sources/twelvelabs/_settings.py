"""What a user may set for this source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal
from urllib.parse import quote

from pydantic import Field, SecretStr, StringConstraints

from vectorferry.connector._model._mapping import ColumnMapping
from vectorferry.connector._model._records import MODALITIES, Modality
from vectorferry.connector._model._settings_base import Spelling
from vectorferry.connector._protocols._scale import Load, VectorLoad
from vectorferry.connector.http import ApiClient, ApiSourceSettings
from vectorferry.connector.sources.twelvelabs._api import TwelveLabsApi
from vectorferry.connector.sources.twelvelabs._indexes import ReadOptions, Transcriptions
from vectorferry.connector.sources.twelvelabs._search import Searcher
from vectorferry.connector.sources.twelvelabs._source import TwelveLabsSource
from vectorferry.connector.sources.twelvelabs._submit import Submitter
from vectorferry.connector.sources.twelvelabs._tasks import TASKS

Name = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Option = Annotated[str, Spelling(r"^[a-z][a-z-]{0,59}$", "lowercase letters and -, such as visual-text")]
Kind = Literal["list", "read", "index", "search"]
RequestsPerMinute = Annotated[int, Field(ge=1, le=600_000)]
KEYS_EXPIRE: Final = "Keys of TwelveLabs expire, by default after twelve months; make a new one in its dashboard."


_OF_ASSETS: Final = {
    "filename": ColumnMapping(path="asset.filename"),
    "index_name": ColumnMapping(path="asset.index_name"),
    "user_metadata": ColumnMapping(path="asset.metadata", type="jsonb"),
}
_OF_SEGMENTS: Final = {name: ColumnMapping(path=name) for name in ("embedding_option", "embedding_scope", "model_name")}
DEFAULT_COLUMNS: Final[Mapping[Modality, Mapping[str, ColumnMapping]]] = {
    modality: _OF_ASSETS if modality is Modality.TEXT else {**_OF_ASSETS, **_OF_SEGMENTS} for modality in MODALITIES
}
"""Texts are what was spoken, which no model has made."""


class TwelveLabsSettings(ApiSourceSettings):
    """TwelveLabs' API, version 1.3."""

    type: Literal["twelvelabs"] = "twelvelabs"
    api_key: SecretStr = Field(default=SecretStr("${TWELVELABS_API_KEY}"), description="a TwelveLabs API key")
    base_url: str = Field(
        default="https://api.twelvelabs.io/v1.3",
        description="where the API is, with its version; the key is sent to this host and no other",
    )
    collections: tuple[Name, ...] = Field(default=(), description="ids or names of the indexes to sync; none: all")
    page_size: int = Field(default=50, ge=1, le=50, description="indexed assets listed per request")
    options: tuple[Option, ...] | None = Field(
        default=None,
        description="embedding options to read (visual, audio, transcription; visual-text of Marengo 2.7), of each "
        "index those that it was made with; none: all of these, and transcription where that includes audio",
    )
    transcriptions: Transcriptions = Field(
        default="entries",
        description="what is spoken: segments (a column of the segments), entries (as well as text features of its "
        "own), sentences, utterances or words (text features from the asset's own transcription, one more request for "
        "each asset), or none",
    )
    embed_tasks: bool = Field(
        default=False,
        description="read the embedding tasks of the last seven days too: collections embed-tasks, embed-v2-tasks",
    )
    entities: bool = Field(
        default=True, description="read entity collections and entities too: two tables of metadata, in Postgres only"
    )
    reread_days: float | None = Field(
        default=7,
        gt=0,
        le=3_650,
        description="days until an asset that seems unchanged is read again: editing its metadata may not show in "
        "lists; none: never",
    )

    requests_per_minute_by_kind: dict[Kind, RequestsPerMinute] = Field(
        default={"index": 60, "search": 600},
        description="most requests per minute of a kind (list, read, index, search), within requests_per_minute; the "
        "defaults are those of its first tier",
    )

    @property
    def default_columns(self) -> Mapping[Modality, Mapping[str, ColumnMapping]]:
        """What its media are told apart by: the file, the index, the user's metadata, and how a vector was made."""
        return DEFAULT_COLUMNS

    def console(self, collection: str) -> str | None:
        """The index in TwelveLabs' playground; none of what is no index, nor of another service than its own."""
        if collection in TASKS or not self.base_url.startswith("https://api.twelvelabs.io/"):
            return None
        return f"https://playground.twelvelabs.io/indexes/{quote(collection, safe='')}"

    def load(self, features: int) -> Load:
        """Thirty segments an asset, each of which is a feature with one vector for every embedding option."""
        names = self.options or ("visual", "audio", "transcription")
        vectors = [VectorLoad(Modality.VIDEO, f"marengo3.0-{name}", 512, features // len(names)) for name in names]
        return Load(max(1, features // (30 * len(names))), features, vectors)

    def requests_for(self, load: Load) -> tuple[int, int]:
        """A page of assets each; an asset each, and once more where its own transcription is read."""
        finer = self.transcriptions in ("sentences", "utterances", "words")
        return -(-load.assets // self.page_size), load.assets * (2 if finer else 1)

    def open(self) -> TwelveLabsSource:
        """A source with these settings. Raises `ConfigurationError` when the key or the address cannot be used."""
        client = ApiClient(
            self.client_settings(
                key_variable="TWELVELABS_API_KEY",
                key_header="x-api-key",
                key_advice=KEYS_EXPIRE,
                kinds={str(kind): limit for kind, limit in self.requests_per_minute_by_kind.items()},
            )
        )
        api = TwelveLabsApi(client, self.page_size, self.concurrency)
        return TwelveLabsSource(
            api,
            self.collections,
            ReadOptions(self.options, self.transcriptions, self.limits),
            self.concurrency,
            embed_tasks=self.embed_tasks,
            submitter=Submitter(client),
            searcher=Searcher(client),
            entities=self.entities,
        )
