"""What a plug-in provides: a settings class that knows how to open the source or destination it describes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from connector._destination import Destination
from connector._settings_base import Settings
from connector._source import Source

__all__ = ["DestinationSettings", "SourceSettings"]


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
