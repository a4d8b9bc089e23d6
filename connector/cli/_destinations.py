"""The destinations of a configured sync, opened for reading: their own variables are enough, no source's key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

from vectorferry.connector._config import resolve_part
from vectorferry.connector._destination import Destination
from vectorferry.connector._engine._named import destinations_called
from vectorferry.connector._settings import SyncSettings

__all__ = ["destination_index", "opened"]


@contextmanager
def opened(settings: SyncSettings, index: int) -> Iterator[Destination]:
    """The destination at this place in the file, closed at the end."""
    unresolved = settings.destinations[index]
    resolved = resolve_part(unresolved, os.environ, settings.where, ("destinations", index))
    with closing(resolved.open(settings.name)) as destination:
        yield destination


def destination_index(settings: SyncSettings, word: str | None) -> int:
    """The place of the first destination of this name, or of this type; None: of the very first one."""
    return 0 if word is None else destinations_called(settings, word)[0]
