"""One file, one sync: YAML read with bounds. A Dagster component file describes one as well, under ``attributes``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import ValidationError

from vectorferry.connector._config._problems import KeyPath, joined, key_path, validation_lines, without_secret
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector._model._near import closest
from vectorferry.connector._model._settings_base import Settings

Part = TypeVar("Part", bound=Settings)
MAX_BYTES: Final = 256_000
PROJECT_FILES: Final = ("dg.toml", "pyproject.toml")
ONLY_FOR_DAGSTER: Final = frozenset(
    {"translation", "op", "checks", "freshness", "sensors", "sample_rows", "embedding_map", "workers"}
)
"""What a component file says beyond the sync: how it looks and is watched in Dagster."""


def load_settings(path: str | Path, name: str | None = None) -> SyncSettings:
    """The sync that a YAML file describes; `name` picks one where the file holds several.

    The file is a sync's own, or a Dagster component file. The environment is not looked at: ``${NAME}`` stays as
    it is until `resolve`. Raises `ConfigurationError` with a line per problem: file, key, what to do.
    """
    path = Path(path)
    documents = read_documents(path)
    syncs = [_attributes(document, str(path)) for document in documents]
    in_project = any("attributes" in document for document in documents)
    folder = project_folder(path) if in_project else path.absolute().parent
    return parse_settings(_sync_called(syncs, name, str(path)), str(path), folder)


def project_folder(component_file: Path) -> Path:
    """The folder of the project that a component file of Dagster's is in; the current one where it is in none."""
    folders = component_file.absolute().parents
    return next((each for each in folders if any((each / name).exists() for name in PROJECT_FILES)), Path.cwd())


def parse_settings(tree: Mapping[str, Any], where: str, folder: Path | None = None) -> SyncSettings:
    """Settings from plain values; `where` begins every line of an error and is kept as ``settings.where``.

    Paths in them begin at `folder`, which is the current one where none is given. Raises `ConfigurationError`.
    """
    try:
        settings = SyncSettings.model_validate(tree, context={"where": where, "folder": folder})
    except ValidationError as error:
        raise ConfigurationError(joined(where, validation_lines(error, tree))) from None
    if folder is not None:
        _refuse_data_left_behind(settings, folder)
    return settings


def _refuse_data_left_behind(settings: SyncSettings, folder: Path) -> None:
    """Relative paths once began at the current folder: what lies there would be missed without a word."""
    for place, destination in enumerate(settings.destinations):
        directory = destination.data_directory
        if directory is None or not directory.is_relative_to(folder) or directory.exists():
            continue
        if destination.holds_data(before := Path.cwd() / directory.relative_to(folder)):
            path = key_path(("destinations", place, "directory"))
            raise ConfigurationError(
                f"{settings.where}: {path}: {directory} is not there, but {before} is: a path in this file begins at "
                f"{folder}, no longer at the current folder.\n"
                f"To go on with what is there, move it, or say `directory: {before}`. To begin anew: "
                f"mkdir -p {directory}"
            )


def load_part(path: str | Path, model: type[Part]) -> Part:
    """Settings of another kind than a sync's, from a YAML file of their own. Raises `ConfigurationError` like
    `load_settings`."""
    path = Path(path)
    if not path.exists():
        raise ConfigurationError(f"{path}: no such file")
    documents = read_documents(path)
    if len(documents) != 1 or not isinstance(documents[0], Mapping):
        raise ConfigurationError(f"{path}: should be one mapping (lines of `key: value`)")
    return parse_part(documents[0], model, str(path))


def parse_part(tree: Mapping[str, Any], model: type[Part], where: str, below: KeyPath = ()) -> Part:
    """Settings of another kind than a sync's, at the key `below` of `where`. Raises `ConfigurationError`."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        lines = [((*below, *path), text) for path, text in validation_lines(error, tree, model)]
        raise ConfigurationError(joined(where, lines)) from None


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
        near = closest(str(name), names.split(", "))
        raise ConfigurationError(f"{where}: no sync of the name given by --name; it holds: {names}{near}")
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
        beside = [each.name for each in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        near = closest(path.name, beside)
        advice = " Name it" if near else "; run `vectorferry init` to write one, or name yours"
        raise ConfigurationError(f"{path}: no such file{near}{advice} with -c FILE")
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
