"""The destinations of a configured sync that can do what is asked for, opened for a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from os import environ as process_environ
from typing import TypeGuard, TypeVar

from vectorferry.connector._config import resolve_part
from vectorferry.connector._destination import Destination
from vectorferry.connector._engine._named import destination_label, destinations_called
from vectorferry.connector._errors import ConfigurationError
from vectorferry.connector._settings import SyncSettings

__all__ = ["able_ones"]

SomeDestination = TypeVar("SomeDestination")


def able_ones(
    settings: SyncSettings,
    is_able: Callable[[Destination], TypeGuard[SomeDestination]],
    otherwise: str,
    called: str | None = None,
    environ: Mapping[str, str] = process_environ,
) -> AbstractContextManager[list[SomeDestination]]:
    """Those of this name or type (None: of all) that are able. Only their own ``${NAME}`` are resolved.

    Raises `ConfigurationError` when there is none; `otherwise` says what the others do not do.
    """

    @contextmanager
    def able() -> Iterator[list[SomeDestination]]:
        places = range(len(settings.destinations)) if called is None else destinations_called(settings, called)
        with ExitStack() as stack:
            opened: list[Destination] = []
            for place in places:
                resolved = resolve_part(settings.destinations[place], environ, settings.where, ("destinations", place))
                opened.append(resolved.open(settings.name))
                stack.callback(opened[-1].close)
            if not (found := [destination for destination in opened if is_able(destination)]):
                labels = ", ".join(destination_label(settings.destinations[place]) for place in places)
                raise ConfigurationError(f"{labels}: {otherwise}")
            yield found

    return able()
