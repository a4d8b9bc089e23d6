"""Settings as typed values: what one YAML file, or one Dagster component, says about a sync."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from connector._destination import Destination
from connector._mapping import SchemaMapping
from connector._settings_base import Settings
from connector._source import Source

__all__ = ["BatchLimits", "DeleteGuard", "DestinationSettings", "SourceSettings", "SyncSettings"]

SyncName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,47}$")]


class SourceSettings(Settings, ABC):
    """What a plug-in of the group ``vectorferry.sources`` provides. `type` is the entry point's name."""

    type: str
    secret_fields: ClassVar[tuple[str, ...]] = ()
    """Names of fields that hold a key; typed `SecretStr`, and never printed."""

    @abstractmethod
    def open(self) -> Source:
        """A source with these settings, every ``${NAME}`` already resolved. No request is made yet."""


class DestinationSettings(Settings, ABC):
    """What a plug-in of the group ``vectorferry.destinations`` provides. `type` is the entry point's name."""

    type: str
    secret_fields: ClassVar[tuple[str, ...]] = ()
    """Names of fields that hold a key or a password; typed `SecretStr`, and never printed."""

    @abstractmethod
    def open(self, sync_name: str) -> Destination:
        """A destination with these settings for the sync of this name, every ``${NAME}`` already resolved."""


class BatchLimits(Settings):
    """When a batch is full: whichever limit is met first. An asset is never split."""

    rows: int = Field(default=2_000, ge=1, le=100_000, description="features per batch")
    bytes: int = Field(default=16_000_000, ge=1_000, le=1_000_000_000, description="bytes of vectors and text")


class DeleteGuard(Settings):
    """Refuses deletes that look like a mistake."""

    max_share: float = Field(default=0.2, ge=0, le=1, description="share of a collection's assets")


class SyncSettings(Settings):
    """One sync: a source, its destinations, and how modalities are mapped."""

    name: SyncName
    source: SourceSettings
    destinations: tuple[DestinationSettings, ...] = Field(min_length=1)
    modalities: SchemaMapping = Field(default_factory=SchemaMapping)
    batch: BatchLimits = BatchLimits()
    deletes: DeleteGuard = DeleteGuard()
    schedule: str | None = Field(default=None, description="cron expression, used by Dagster only")
