"""What a user may set for this source."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from vectorferry.connector._protocols._source import SourceSettings
from vectorferry.connector.sources.sandbox._source import SandboxSource, Service

__all__ = ["SandboxSettings"]

Name = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class SandboxSettings(SourceSettings):
    """Sample media from a sandbox that is started when it is read and stopped when it is closed."""

    type: Literal["sandbox"] = "sandbox"
    service: Service = Field(default="mixpeek", description="whose API is stood in for: mixpeek or twelvelabs")
    collections: tuple[Name, ...] = Field(default=(), description="ids of the sample collections to sync; none: all")

    def open(self) -> SandboxSource:
        """A source with these settings. Nothing is started yet."""
        return SandboxSource(self.collections, self.service)
