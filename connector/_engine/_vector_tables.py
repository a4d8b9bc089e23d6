"""Destinations that keep a table for each dimension of a named vector, opened to look and to tidy up."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from os import environ as process_environ
from typing import Protocol, TypeGuard

from vectorferry.connector._destination import Destination
from vectorferry.connector._engine._able import able_ones
from vectorferry.connector._settings import SyncSettings
from vectorferry.connector._vector_tables import VectorTables

__all__ = ["Keeper", "keepers"]


class Keeper(Destination, VectorTables, Protocol):
    """A destination that can list and drop such tables."""


def keepers(
    settings: SyncSettings, called: str | None = None, environ: Mapping[str, str] = process_environ
) -> AbstractContextManager[list[Keeper]]:
    """The destinations of this name or type (None: all that can), open meanwhile. Raises `ConfigurationError` when
    there is none."""
    return able_ones(settings, _is_keeper, "keeps no table for each dimension of a vector", called, environ)


def _is_keeper(destination: Destination) -> TypeGuard[Keeper]:
    return isinstance(destination, VectorTables)
