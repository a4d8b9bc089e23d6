"""What a user may say of a file that becomes an object in a bucket. What is made of it, its collection says."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import Field

from vectorferry.connector._model._settings_base import Settings

BlobType: TypeAlias = Literal["video", "image", "audio", "text", "pdf", "excel"]


class MixpeekDocumentsSubmitSettings(Settings):
    """A file for ``vectorferry submit --settings``. What is not set is left to the service."""

    bucket: str | None = Field(
        default=None, min_length=1, description="id or name; none: the only one that the collection is fed from"
    )
    property: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="which field of the bucket's schema the file is; none: the only one of its type",
    )
    type: BlobType | None = Field(default=None, description="none: as the address ends")
    metadata: dict[str, Any] = Field(default_factory=dict)
    key_prefix: str | None = None
    skip_duplicates: bool | None = None
    canonicalize_source: bool | None = None
    force_remirror: bool | None = None
    dedup_strategy: Literal["skip", "replace", "force"] | None = Field(
        default=None, description="what becomes of an object that was processed before; none: the service skips it"
    )
