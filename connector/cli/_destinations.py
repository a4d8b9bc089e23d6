"""The destinations of a configured sync, opened for reading: their own variables are enough, no source's key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

from connector._config import resolve_part
from connector._destination import Destination
from connector._errors import ConfigurationError
from connector._settings import SyncSettings

__all__ = ["destination_index", "opened"]


@contextmanager
def opened(settings: SyncSettings, index: int) -> Iterator[Destination]:
    """The destination at this place in the file, closed at the end."""
    unresolved = settings.destinations[index]
    resolved = resolve_part(unresolved, os.environ, settings.where, ("destinations", index))
    with closing(resolved.open(settings.name)) as destination:
        yield destination


def destination_index(settings: SyncSettings, type_: str | None) -> int:
    """The place of the first destination of this type, or of the very first one."""
    types = [destination.type for destination in settings.destinations]
    if type_ is not None and type_ not in types:
        raise ConfigurationError(f"{settings.where}: no destination of that type; it has: {', '.join(types)}")
    return types.index(type_) if type_ is not None else 0
