"""A sync's source and destinations as Dagster resources, which show the names of secrets and never a key."""

from __future__ import annotations

import re
from collections.abc import Iterable
from copy import deepcopy
from typing import Any, Final, TypeAlias

import dagster as dg
from pydantic import BaseModel, Field, SecretStr

from vectorferry import SyncSettings, parse_settings
from vectorferry.connector.plugin import DestinationSettings, SourceSettings

Keys: TypeAlias = tuple[str, ...]
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
    """What the resource says, with the keys that only the file knows where the mask still stands for them."""
    tree = deepcopy({"type": resource.type, **resource.settings})
    for path, text in _secrets(written):
        if (holder := _holder(tree, path)) and holder.get(path[-1]) == MASK:
            holder[path[-1]] = text
    return tree


def _shown(settings: SourceSettings | DestinationSettings) -> dict[str, Any]:
    """Plain JSON values; a secret only where it is nothing but ``${NAME}``."""
    plain = settings.model_dump(mode="json", exclude_unset=True, by_alias=True, exclude={"type"})
    for path, text in _secrets(settings):
        if holder := _holder(plain, path):
            holder[path[-1]] = text if REFERENCE.fullmatch(text) else MASK
    return plain


def _holder(tree: dict[str, Any], path: Keys) -> dict[str, Any] | None:
    """The mapping in which the last key of `path` is, or None when there is none."""
    for key in path[:-1]:
        below = tree.get(key)
        if not isinstance(below, dict):
            return None
        tree = below
    return tree if path[-1] in tree else None


def _secrets(settings: BaseModel, above: Keys = ()) -> Iterable[tuple[Keys, str]]:
    """Every secret in the settings and in settings within them, with the keys that lead to it."""
    for name, field in type(settings).model_fields.items():
        value, path = getattr(settings, name), (*above, field.alias or name)
        if isinstance(value, SecretStr):
            yield path, value.get_secret_value()
        elif isinstance(value, BaseModel):
            yield from _secrets(value, path)
