"""Plug-ins: what one provides, and sources and destinations by name, found through entry points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._model._near import closest
from vectorferry.connector._model._settings_base import Settings
from vectorferry.connector._protocols._destination import Destination
from vectorferry.connector._protocols._scale import Leg, Load
from vectorferry.connector._protocols._source import SourceSettings


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

    def holds_data(self, folder: Path) -> bool:  # noqa: ARG002
        """Whether a folder is one in which such a destination has kept data."""
        return False

    def vector_names(self, mapping: SchemaMapping) -> tuple[str, ...]:  # noqa: ARG002
        """The named vectors that get an index of their own here, as far as that is known before a run.

        Dagster shows each as an asset beside the modality tables. Empty for a destination whose vectors are in these
        tables.
        """
        return ()

    def legs(self, load: Load, mapping: SchemaMapping) -> Sequence[Leg]:  # noqa: ARG002
        """What writing so much takes by these settings, and indexing it; nothing where that is not known. Asks
        nobody."""
        return ()


OURS: Final = "vectorferry"
SOURCES: Final = "vectorferry.sources"
DESTINATIONS: Final = "vectorferry.destinations"
SettingsClass = TypeVar("SettingsClass", bound=Settings)


def source_settings(name: str) -> type[SourceSettings]:
    """The settings class of the source plug-in of this name.

    Raises `ConfigurationError` when there is none (it names those that are installed) or it cannot be imported
    (it names the package).
    """
    return _load(_find(name, SOURCES, "source"), SourceSettings)  # type: ignore[type-abstract]


def destination_settings(name: str) -> type[DestinationSettings]:
    """The settings class of the destination plug-in of this name; raises like `source_settings`."""
    return _load(_find(name, DESTINATIONS, "destination"), DestinationSettings)  # type: ignore[type-abstract]


EMBEDDERS: Final = "vectorferry.embedders"


def embedder(name: str) -> Callable[[str], Any]:
    """What the entry point of this name in the group ``vectorferry.embedders`` is: it takes a text, and gives numbers,
    or indices and values. Raises `ConfigurationError` when there is none, or it cannot be imported."""
    point = _find(name, EMBEDDERS, "embedder")
    loaded = _imported(point)
    if not callable(loaded):
        raise ConfigurationError(f"the plug-in {name} of the package {_package(point)} cannot be called with a text")
    model: Callable[[str], Any] = loaded
    return model


def _find(name: str, group: str, kind: str) -> EntryPoint:
    """An editable install may list the same entry point twice; two packages under one name are refused."""
    installed = entry_points(group=group)
    found = {point.value: point for point in installed if point.name == name}
    if not found:
        known = sorted({point.name for point in installed})
        if not name:
            raise ConfigurationError(f"is missing; add one of {', '.join(known) or 'none, since none is installed'}")
        raise ConfigurationError(f"unknown {kind} type (installed: {', '.join(known) or 'none'}){closest(name, known)}")
    if len(found) > 1:
        packages = ", ".join(sorted(_package(point) for point in found.values()))
        raise ConfigurationError(f"the {kind} type {name} is provided by several packages ({packages}); uninstall one")
    return next(iter(found.values()))


def _load(point: EntryPoint, base: type[SettingsClass]) -> type[SettingsClass]:
    """Importing runs a third party's code, so whatever it raises is reported as that package's."""
    loaded = _imported(point)
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        raise ConfigurationError(
            f"the plug-in {point.name} of the package {_package(point)} is not a subclass of {base.__name__}"
        )
    return loaded


def _imported(point: EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == point.name and _package(point) == OURS:
            raise ConfigurationError(
                f"what `type: {point.name}` needs is not installed: run `pip install 'vectorferry[{point.name}]'`"
            ) from error
        raise ConfigurationError(
            f"the plug-in {point.name} of the package {_package(point)} cannot be loaded "
            f"({type(error).__name__}: {error}); install that package again, or remove it"
        ) from error


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.module
