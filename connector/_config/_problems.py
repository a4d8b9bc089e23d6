"""A key that somebody put where a name belongs: it must not be repeated in the message that says so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from vectorferry.connector._config._registry import destination_settings, source_settings
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector._model._near import closest

HIDDEN: Final = "***"
_SHORTEST: Final = 16
_DIGITS: Final = 3


def looks_secret(name: str) -> bool:
    """Whether this is more likely a key than a name: long, with several digits among its letters.

    Keys of Mixpeek, TwelveLabs and Pinecone are; names of settings, syncs and environment variables hardly ever.
    """
    return len(name) >= _SHORTEST and sum(char.isdigit() for char in name) >= _DIGITS


def without_secret(name: str) -> str:
    """The name, or `HIDDEN` in its place."""
    return HIDDEN if looks_secret(name) else name


KeyPath: TypeAlias = tuple[str | int, ...]
MAX_LINES: Final = 5
A_MAPPING: Final = "should be a mapping (lines of `key: value`)"
A_WHOLE_NUMBER: Final = "should be a whole number"
A_LIST: Final = "should be a list (lines that begin with `- `)"

MESSAGES: Final[Mapping[str, str]] = {
    "missing": "is missing; add it",
    "string_type": "should be text; put it in quotes",
    "model_type": A_MAPPING,
    "dict_type": A_MAPPING,
    "tuple_type": A_LIST,
    "list_type": A_LIST,
    "too_short": "has too few entries; add one",
    "int_type": A_WHOLE_NUMBER,
    "int_parsing": A_WHOLE_NUMBER,
    "int_from_float": A_WHOLE_NUMBER,
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "less_than": "should be less than {lt}",
    "less_than_equal": "should be at most {le}",
    "greater_than": "should be more than {gt}",
    "greater_than_equal": "should be at least {ge}",
    "string_pattern_mismatch": "has a character where it cannot be",  # of a plug-in that does not say it in words
}

PLUG_IN: Final = "plug_in"
"""pydantic's type of a mistake in what a plug-in is called."""

THE_KEY: Final = "[key]"
"""Stands in pydantic's paths behind a key that is wrong itself."""


def joined(where: str, lines: Sequence[tuple[KeyPath, str]]) -> str:
    """One line per problem, the first few of them."""
    shown = [f"{where}: {key_path(path)}: {text}" for path, text in lines[:MAX_LINES]]
    if len(lines) > MAX_LINES:
        shown.append(f"{where}: … and {len(lines) - MAX_LINES} more")
    return "\n".join(shown)


def key_path(path: KeyPath) -> str:
    """``("destinations", 0, "url")`` as ``destinations[0].url``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:80]}" for part in path).removeprefix(".")
    return "".join(char if char.isprintable() else "?" for char in text) or "top level"


def validation_lines(
    error: ValidationError, tree: Mapping[str, Any], root: type[BaseModel] = SyncSettings
) -> list[tuple[KeyPath, str]]:
    """What pydantic found wrong in this tree of the model `root`, problem by problem."""
    details = error.errors(include_url=False, include_input=False)
    return [(_place(detail), _text(detail, tree, root)) for detail in details if not _follows(detail, details)]


def _place(detail: ErrorDetails) -> KeyPath:
    path = detail["loc"]
    if _is_misplaced_secret(detail):
        return (*path[:-1], HIDDEN)
    if detail["type"] == PLUG_IN:
        return (*path, "type")
    return path[:-1] if path[-1:] == (THE_KEY,) else path


def _is_misplaced_secret(detail: ErrorDetails) -> bool:
    return detail["type"] == "extra_forbidden" and looks_secret(str(detail["loc"][-1]))


def _follows(detail: ErrorDetails, details: Sequence[ErrorDetails]) -> bool:
    """Whether a list is too short only because an entry of it is wrong."""
    path = detail["loc"]
    below = (other["loc"] for other in details if len(other["loc"]) > len(path))
    return detail["type"] == "too_short" and any(other[: len(path)] == path for other in below)


def _text(detail: ErrorDetails, tree: Mapping[str, Any], root: type[BaseModel]) -> str:
    if _is_misplaced_secret(detail):
        return "unknown key, not shown since it looks like a secret; a secret is written behind the key: `api_key: …`"
    if detail["type"] == "extra_forbidden":
        *parents, key = detail["loc"]
        near = closest(str(key), _known_keys(tuple(parents), tree, root))
        return f"unknown key{near or _elsewhere(tuple(parents), str(key), tree, root)}"
    if detail["type"] in MESSAGES:
        told = detail.get("ctx", {})
        return re.sub(r"\{(\w+)\}", lambda match: _plain(told.get(match[1])), MESSAGES[detail["type"]])
    text = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return text[:1].lower() + text[1:] + _nearest_literal(detail, tree)


def _plain(bound: object) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)


def _nearest_literal(detail: ErrorDetails, tree: Mapping[str, Any]) -> str:
    """Which of the few allowed values may be meant. What was given is compared with them, and not repeated."""
    if detail["type"] != "literal_error":
        return ""
    *parents, last = detail["loc"]
    given: Any = tree
    try:
        for part in parents:
            given = given[part]
        given = parents[-1] if last == THE_KEY else given[last]
    except (KeyError, IndexError, TypeError):
        return ""
    return closest(str(given), re.findall(r"'([^']*)'", str(detail["ctx"]["expected"])))


def _elsewhere(parents: KeyPath, key: str, tree: Mapping[str, Any], root: type[BaseModel]) -> str:
    """Where a key of the top level belongs, if that is below the source or the first destination."""
    places: list[tuple[str, KeyPath]] = [("source", ("source",)), ("a destination", ("destinations", 0))]
    below = (name for name, path in places if not parents and key in _known_keys(path, tree, root))
    return next((f"; it belongs below {name}" for name in below), "")


def _known_keys(parents: KeyPath, tree: Mapping[str, Any], root: type[BaseModel]) -> list[str]:
    """The keys that the settings at this path take."""
    here: Any = root
    for depth, part in enumerate(parents, start=1):
        here = _plugin_at(parents[:depth], tree) or _below(here, part)
    model = _model(here)
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _plugin_at(path: KeyPath, tree: Mapping[str, Any]) -> type[BaseModel] | None:
    try:
        match path:
            case ("source",):
                return source_settings(tree["source"]["type"])
            case ("destinations", int(index)):
                return destination_settings(tree["destinations"][index]["type"])
    except ConfigurationError:
        return None
    return None


def _below(annotation: Any, key: str | int) -> Any:
    model = _model(annotation)
    if model is None:
        return None
    return next((f.annotation for name, f in model.model_fields.items() if key in (name, f.alias)), annotation)


def _model(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation: itself, or what it holds (``dict[str, Model]``, ``Model | None``)."""
    return next((part for part in _parts(annotation) if isinstance(part, type) and issubclass(part, BaseModel)), None)


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _parts(argument)
