"""What a user may have Mixpeek make of a file, as its guides, SDKs and schemas of the time spell it.

The API changed twice within a quarter, and a file may be spelled as any of the three: ``model_id`` is November's (the
quickstart, SDK 0.11), ``vector_index`` with ``enabled`` December's (the guide for images), ``embedding_model`` that of
``/ingest`` (schemas of SDK 0.15 and later). `MixpeekSubmitSettings.words` says what was used, and so where it can go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, model_validator

from vectorferry.connector._model._settings_base import Settings

EmbeddingModel: TypeAlias = Literal[
    "image",
    "multimodal",
    "text",
    "keyword",
    "video",
    "openai-clip-vit-base-patch32",
    "vertex-multimodal",
    "baai-bge-m3",
    "naver-splade-v3",
]
Shape: TypeAlias = dict[str, Any]
"""JSON of the user's own, which the service is to fill in."""

Share = Annotated[float, Field(ge=0, le=1)]


def _listed(value: Any) -> Any:
    """A single mapping is a list of one: November's examples and SDKs differ in that."""
    return [value] if isinstance(value, dict) else value


class _Output(Settings):
    """What every kind of output has. What is not set is not sent: the service has its own defaults."""

    enabled: bool | None = None
    prompt: str | None = None
    embedding_model: EmbeddingModel | None = Field(
        default=None, validation_alias=AliasChoices("embedding_model", "vector_index")
    )
    json_output: Shape | None = None


class Read(_Output):
    """Text that is seen in it."""

    model_id: Literal["video-descriptor-v1", "image-descriptor-v1"] | None = None
    json_format: Shape | None = None


class Transcribe(_Output):
    """Words that are spoken in it."""

    model_id: Literal["polyglot-v1"] | None = None


class Describe(_Output):
    """What happens in it, in words."""

    model_id: Literal["video-descriptor-v1", "image-descriptor-v1"] | None = None
    max_length: int | None = Field(default=None, ge=1)


class Embed(Settings):
    """One named vector: of the file itself (`type: url`, without a value), or of the text or file in `value`."""

    type: Literal["url", "text", "file", "base64"] | None = None
    value: str | None = None
    embedding_model: EmbeddingModel | None = Field(
        default=None, validation_alias=AliasChoices("embedding_model", "vector_index")
    )
    field_name: str | None = None
    model_id: Literal["multimodal-v1", "vuse-generic-v1", "image-embed-v1"] | None = None
    contextual_text: str | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Embed:
        if self.model_id is None and (self.type is None or self.embedding_model is None):
            raise ValueError("needs `type` and `embedding_model`, or, as in November 2024, a `model_id` alone")
        if self.model_id is not None and self.model_fields_set - {"model_id", "contextual_text"}:
            raise ValueError("`model_id` is the spelling of November 2024, and stands alone")
        if self.type == "url" and self.value is not None:
            raise ValueError("`type: url` is the file that is submitted: leave `value` out")
        return self


class Detect(Settings):
    """One thing to look for, and how sure the service has to be."""

    enabled: bool | None = None
    confidence_threshold: Share | None = None
    model_id: Literal["face-detector-v1", "logo-detector-v1"] | None = None


class DetectSettings(Settings):
    """Faces and logos."""

    faces: Detect | None = None
    logos: Detect | None = None


class JsonOutput(Settings):
    """Answers in a shape of the user's own."""

    response_shape: Shape | None = None
    prompt: str | None = None


class TaxonomyExtraction(Settings):
    """Taxonomies whose entities are looked for."""

    taxonomy_ids: tuple[str, ...] = Field(min_length=1)
    embedding_models: tuple[EmbeddingModel, ...]
    confidence_threshold: Share | None = None


class Entities(Settings):
    """Entities that are looked for."""

    taxonomy_extraction: TaxonomyExtraction | None = None


class _MediaSettings(Settings):
    read: Read | None = None
    embed: Annotated[tuple[Embed, ...], BeforeValidator(_listed)] = ()
    describe: Describe | None = None
    detect: DetectSettings | None = None
    json_output: JsonOutput | None = None
    entities: Entities | None = None


class ImageSettings(_MediaSettings):
    """What is made of an image."""


class VideoSettings(_MediaSettings):
    """What is made of a video, piece by piece of `interval_sec` seconds."""

    interval_sec: int = Field(default=10, ge=5, le=120)
    transcribe: Transcribe | None = None


class Percolate(Settings):
    """Whether stored queries are matched with the asset."""

    enabled: bool | None = None
    min_score: Share | None = None
    max_candidates: int | None = Field(default=None, ge=1)


class AssetUpdate(Settings):
    """An asset that this file takes the place of, or is added to."""

    asset_id: str = Field(min_length=1)
    mode: Literal["replace", "append"]


class MixpeekSubmitSettings(Settings):
    """A file for ``vectorferry submit --settings``. Of `video_settings` and `image_settings` a file gets those of its
    kind: `modality`, or what its address ends with, says which that is."""

    modality: Literal["video", "image"] | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    video_settings: Annotated[tuple[VideoSettings, ...], BeforeValidator(_listed)] = ()
    image_settings: ImageSettings | None = None
    asset_update: AssetUpdate | None = None
    skip_duplicate: bool | None = None
    percolate: Percolate | None = None
    prevent_duplicate: bool | None = None
    should_save: bool | None = None

    @property
    def words(self) -> frozenset[str]:
        """The keys that were used, on every level; not those in JSON of the user's own."""
        return frozenset(_keys(self))


def _keys(settings: BaseModel) -> Iterator[str]:
    for name in settings.model_fields_set:
        yield name
        value = getattr(settings, name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, BaseModel):
                yield from _keys(part)
