"""Which collections to read: those that are configured, or all that the service lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from connector._errors import ConfigurationError
from connector.http import one_line

__all__ = ["Names", "chosen"]

Names: TypeAlias = Mapping[str, str | None]
"""The ids of collections, each with its name if it has one."""


def chosen(names: Names, wanted: Sequence[str]) -> list[str]:
    """The ids of the wanted collections, in their order; of all of them, sorted, when none is wanted.

    Raises `ConfigurationError` for an id or name that is not there, or a name that is there twice.
    """
    if not wanted:
        return sorted(names)
    return list(dict.fromkeys(_id_of(name, names) for name in wanted))


def _id_of(name: str, names: Names) -> str:
    if name in names:
        return name
    ids = [collection for collection, label in names.items() if label == name]
    if len(ids) == 1:
        return ids[0]
    if ids:
        raise ConfigurationError(
            f"source.collections: {len(ids)} collections are named {name}; use one of their ids: "
            + one_line(", ".join(ids))
        )
    there = one_line(", ".join(f"{label} ({found})" if label else found for found, label in names.items()))
    raise ConfigurationError(f"source.collections: there is no collection {name}; there are: {there or 'none'}")
