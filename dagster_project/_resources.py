"""A sync's source and destinations as Dagster resources, which show the names of secrets and never a key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import dagster as dg
from pydantic import Field, SecretStr

from connector import DestinationSettings, SourceSettings, SyncSettings, parse_settings

__all__ = ["DestinationResource", "SourceResource", "resource_keys", "resources_of", "settings_from"]

MASK: Final = "**********"
REFERENCE: Final = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")


class SourceResource(dg.ConfigurableResource[Any]):
    """What a sync reads from, as its file says it.

    ``${NAME}`` stays a name here; a run looks it up in its own environment. A key written into the file
    itself is shown as ``**********``.
    """

    type: str = Field(description="The plug-in that reads it.")
    settings: dict[str, Any] = Field(default_factory=dict, description="The plug-in's settings.")


class DestinationResource(dg.ConfigurableResource[Any]):
    """What a sync writes to, as its file says it.

    ``${NAME}`` stays a name here; a run looks it up in its own environment. A key or address written into the file
    itself is shown as ``**********``.
    """

    type: str = Field(description="The plug-in that writes it.")
    settings: dict[str, Any] = Field(default_factory=dict, description="The plug-in's settings.")


def resources_of(settings: SyncSettings) -> dict[str, SourceResource | DestinationResource]:
    """The resources of a sync under keys of its own: ``{sync}_source``, then ``{sync}_{type}`` per destination."""
    source, *destinations = resource_keys(settings)
    return {
        source: SourceResource(type=settings.source.type, settings=_shown(settings.source)),
        **{
            key: DestinationResource(type=written.type, settings=_shown(written))
            for key, written in zip(destinations, settings.destinations, strict=True)
        },
    }


def resource_keys(settings: SyncSettings) -> list[str]:
    """The source's key, then one per destination in the file's order; a second one of a type gets a number."""
    types = [destination.type for destination in settings.destinations]
    numbered = [f"{kind}_{n}" if (n := types[: i + 1].count(kind)) > 1 else kind for i, kind in enumerate(types)]
    return [re.sub(r"\W", "_", f"{settings.name}_{name}") for name in ("source", *numbered)]


def settings_from(resources: object, written: SyncSettings) -> SyncSettings:
    """The sync's settings with what its resources say now: the launchpad, or a test, may have changed them.

    Raises `ConfigurationError` when they no longer fit the plug-in.
    """
    source, *destinations = (getattr(resources, key) for key in resource_keys(written))
    tree = written.model_dump(exclude_unset=True, exclude={"source", "destinations"}, by_alias=True)
    tree["source"] = _tree(source, written.source)
    tree["destinations"] = [_tree(*pair) for pair in zip(destinations, written.destinations, strict=True)]
    return parse_settings(tree, written.where)


def _tree(resource: SourceResource | DestinationResource, written: SourceSettings | DestinationSettings) -> Any:
    return {"type": resource.type, **resource.settings, **dict(_hidden(resource.settings, written))}


def _hidden(shown: Mapping[str, Any], written: SourceSettings | DestinationSettings) -> Iterable[tuple[str, str]]:
    """The keys that only the file knows, where the resource still shows the mask for them."""
    for name, text in _secrets(written):
        if shown.get(name) == MASK:
            yield name, text


def _shown(settings: SourceSettings | DestinationSettings) -> dict[str, Any]:
    """Plain JSON values; a secret only where it is nothing but ``${NAME}``."""
    plain = settings.model_dump(mode="json", exclude_unset=True, by_alias=True, exclude={"type"})
    return plain | {name: text if REFERENCE.fullmatch(text) else MASK for name, text in _secrets(settings)}


def _secrets(settings: SourceSettings | DestinationSettings) -> Iterable[tuple[str, str]]:
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            yield field.alias or name, value.get_secret_value()
