"""What a plug-in provides: a settings class that knows how to open the source or destination it describes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import Field

from vectorferry.connector._destination import Destination
from vectorferry.connector._mapping import SchemaMapping
from vectorferry.connector._settings_base import Settings
from vectorferry.connector._source import Source

__all__ = ["DestinationSettings", "SourceSettings"]


class SourceSettings(Settings, ABC):
    """What a plug-in of the group ``vectorferry.sources`` provides. `type` is the entry point's name.

    Keys are fields of type `SecretStr`: that is what keeps them out of everything that is shown. A source that can be
    narrowed to some collections has a field `collections`, a tuple of ids or names that `Source.collections` honours.
    """

    type: str
    reread_days: float | None = Field(
        default=None,
        gt=0,
        le=3_650,
        description="days until an asset that seems unchanged is read again, each at a time of its own; none: never",
    )

    @abstractmethod
    def open(self) -> Source:
        """A source with these settings, every ``${NAME}`` already resolved. No request is made yet."""


class DestinationSettings(Settings, ABC):
    """What a plug-in of the group ``vectorferry.destinations`` provides. `type` is the entry point's name.

    Keys, and addresses that hold a password, are fields of type `SecretStr`.
    """

    type: str

    @abstractmethod
    def open(self, sync_name: str) -> Destination:
        """A destination with these settings for the sync of this name, every ``${NAME}`` already resolved."""

    def beside(self, others: Sequence[DestinationSettings]) -> Self:  # noqa: ARG002
        """These settings once it is known which `others` the sync has. For a destination that keeps its ledger in
        another one; most don't care. ``${NAME}`` is not resolved yet."""
        return self

    @property
    def data_directory(self) -> Path | None:
        """The folder of this machine in which it keeps data that runs on other machines would miss; None: no such."""
        return None

    def vector_names(self, mapping: SchemaMapping) -> tuple[str, ...]:  # noqa: ARG002
        """The named vectors that get an index of their own here, as far as that is known before a run.

        Dagster shows each as an asset beside the modality tables. Empty for a destination whose vectors are in these
        tables.
        """
        return ()
