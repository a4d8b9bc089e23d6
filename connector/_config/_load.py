"""One file, one sync: YAML read with bounds. A Dagster component file describes one as well, under ``attributes``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import ValidationError

from vectorferry.connector._config._problems import joined, validation_lines, without_secret
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector._model._settings_base import Settings

Part = TypeVar("Part", bound=Settings)
MAX_BYTES: Final = 256_000
ONLY_FOR_DAGSTER: Final = frozenset(
    {"translation", "op", "checks", "freshness", "sensors", "sample_rows", "embedding_map"}
)
"""What a component file says beyond the sync: how it looks and is watched in Dagster."""


def load_settings(path: str | Path, name: str | None = None) -> SyncSettings:
    """The sync that a YAML file describes; `name` picks one where the file holds several.

    The file is a sync's own, or a Dagster component file. The environment is not looked at: ``${NAME}`` stays as
    it is until `resolve`. Raises `ConfigurationError` with a line per problem: file, key, what to do.
    """
    path = Path(path)
    syncs = [_attributes(document, str(path)) for document in read_documents(path)]
    return parse_settings(_sync_called(syncs, name, str(path)), str(path))


def parse_settings(tree: Mapping[str, Any], where: str) -> SyncSettings:
    """Settings from plain values; `where` begins every line of an error and is kept as ``settings.where``.

    Raises `ConfigurationError`.
    """
    try:
        return SyncSettings.model_validate(tree, context={"where": where})
    except ValidationError as error:
        raise ConfigurationError(joined(where, validation_lines(error, tree))) from None


def load_part(path: str | Path, model: type[Part]) -> Part:
    """Settings of another kind than a sync's, from a YAML file of their own. Raises `ConfigurationError` like
    `load_settings`."""
    path = Path(path)
    if not path.exists():
        raise ConfigurationError(f"{path}: no such file")
    documents = read_documents(path)
    if len(documents) != 1 or not isinstance(documents[0], Mapping):
        raise ConfigurationError(f"{path}: should be one mapping (lines of `key: value`)")
    try:
        return model.model_validate(documents[0])
    except ValidationError as error:
        raise ConfigurationError(joined(str(path), validation_lines(error, documents[0], model))) from None


def _attributes(document: Any, where: str) -> Mapping[str, Any]:
    if isinstance(document, Mapping) and "attributes" in document:
        document = document["attributes"]
        if isinstance(document, Mapping):
            document = {key: value for key, value in document.items() if key not in ONLY_FOR_DAGSTER}
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"{where}: should be a mapping (lines of `key: value`) that begins with `name: …`")
    return document


def _sync_called(syncs: list[Mapping[str, Any]], name: str | None, where: str) -> Mapping[str, Any]:
    matching = [sync for sync in syncs if name is None or sync.get("name") == name]
    if len(matching) == 1:
        return matching[0]
    names = ", ".join(without_secret(str(sync.get("name", "(no name)"))[:60]) for sync in syncs)
    if not syncs:
        raise ConfigurationError(f"{where}: empty; run `vectorferry init` for one to begin with")
    if not matching:
        raise ConfigurationError(f"{where}: no sync of the name given by --name; it holds: {names}")
    if name is None:
        raise ConfigurationError(f"{where}: holds several syncs ({names}); choose one with --name NAME")
    raise ConfigurationError(f"{where}: several syncs have the name given by --name; names must be unique")


def read_bounded(path: Path, max_bytes: int, hint: str) -> bytes:
    """All bytes of the file. Raises `ConfigurationError`; `hint` follows when there are more than `max_bytes`."""
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) > max_bytes:
        raise ConfigurationError(f"{path}: larger than {max_bytes:,} bytes; {hint}")
    return content


class _Loader(yaml.SafeLoader):
    """The safe loader, stricter: PyYAML lets the last of two equal keys win, and expands aliases without a bound."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not read; write the value out", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem="this key is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def read_documents(path: Path) -> list[Any]:
    """The documents of a YAML file that are not empty. Raises `ConfigurationError`."""
    return _parse(_read(path), str(path))


def _read(path: Path) -> bytes:
    if not path.exists():
        raise ConfigurationError(
            f"{path}: no such file; run `vectorferry init` to write one, or name yours with -c FILE"
        )
    return read_bounded(path, MAX_BYTES, "this is not a sync's configuration")


def _parse(content: bytes, where: str) -> list[Any]:
    """PyYAML's own message quotes the text around an error, which may be a key: only the place is passed on."""
    try:
        return [document for document in yaml.load_all(content, Loader=_Loader) if document is not None]
    except yaml.MarkedYAMLError as error:
        raise ConfigurationError(f"{where}{_place(error)}: {_problem(error)}") from None
    except yaml.YAMLError:
        raise ConfigurationError(f"{where}: not readable as UTF-8 text") from None
    except ValueError:
        raise ConfigurationError(f"{where}: a number or date that is none; put it in quotes") from None
    except RecursionError:
        raise ConfigurationError(f"{where}: nested too deeply") from None


def _place(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark
    return f": line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def _problem(error: yaml.MarkedYAMLError) -> str:
    if type(error) is yaml.MarkedYAMLError and error.problem:
        return error.problem
    return "not valid YAML; look for a tab, a missing quote or wrong indentation"
