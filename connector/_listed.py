"""Asking a source, once and on the spot, which collections it has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from vectorferry.connector._cancellation import run_cancellable
from vectorferry.connector._errors import ConfigurationError
from vectorferry.connector._plugins import SourceSettings

__all__ = ["list_collections", "naming_option"]

SETTING: Final = "source.collections: "


def list_collections(settings: SourceSettings) -> Sequence[str]:
    """The ids of the collections that a source with these settings is for, every ``${NAME}`` already resolved.

    Raises what the source raises. Not for use inside a running event loop.
    """
    return run_cancellable(_listed(settings))


@contextmanager
def naming_option(name: str) -> Iterator[None]:
    """A collection that was named with an option is not to be looked for in the file."""
    try:
        yield
    except ConfigurationError as error:
        said = str(error)
        if not said.startswith(SETTING):
            raise
        raise ConfigurationError(f"--collection {name}: {said.removeprefix(SETTING)}") from error


async def _listed(settings: SourceSettings) -> Sequence[str]:
    source = settings.open()
    try:
        return await source.collections()
    finally:
        await source.aclose()
