"""One file, one sync. A Dagster component file describes a sync as well, under ``attributes``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vectorferry.connector._config._problems import joined, validation_lines, without_secret
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._config._yaml import read_documents
from vectorferry.connector._model._errors import ConfigurationError

__all__ = ["load_settings", "parse_settings"]


def load_settings(path: str | Path, name: str | None = None) -> SyncSettings:
    """The sync that a YAML file describes; `name` picks one where the file holds several.

    The file is a sync's own, or a Dagster component file. The environment is not looked at: ``${NAME}`` stays as
    it is until `resolve`. Raises `ConfigurationError` with a line per problem: file, key, what to do.
    """
    path = Path(path)
    syncs = [_attributes(document, str(path)) for document in read_documents(path)]
    return parse_settings(_chosen(syncs, name, str(path)), str(path))


def parse_settings(tree: Mapping[str, Any], where: str) -> SyncSettings:
    """Settings from plain values; `where` begins every line of an error and is kept as ``settings.where``.

    Raises `ConfigurationError`.
    """
    try:
        return SyncSettings.model_validate(tree, context={"where": where})
    except ValidationError as error:
        raise ConfigurationError(joined(where, validation_lines(error, tree))) from None


def _attributes(document: Any, where: str) -> Mapping[str, Any]:
    if isinstance(document, Mapping) and "attributes" in document:
        document = document["attributes"]
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"{where}: should be a mapping (lines of `key: value`) that begins with `name: …`")
    return document


def _chosen(syncs: list[Mapping[str, Any]], name: str | None, where: str) -> Mapping[str, Any]:
    found = [sync for sync in syncs if name is None or sync.get("name") == name]
    if len(found) == 1:
        return found[0]
    names = ", ".join(without_secret(str(sync.get("name", "(no name)"))[:60]) for sync in syncs)
    if not syncs:
        raise ConfigurationError(f"{where}: empty; run `vectorferry init` for one to begin with")
    if not found:
        raise ConfigurationError(f"{where}: no sync of the name given by --name; it holds: {names}")
    if name is None:
        raise ConfigurationError(f"{where}: holds several syncs ({names}); choose one with --name NAME")
    raise ConfigurationError(f"{where}: several syncs have the name given by --name; names must be unique")
