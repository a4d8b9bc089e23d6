"""``${NAME}`` becomes what the environment holds, at the moment a run starts and not before."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from vectorferry.connector._config._problems import KeyPath, joined, looks_secret, validation_lines, without_secret
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._model._errors import ConfigurationError

SomeModel = TypeVar("SomeModel", bound=BaseModel)

# A file names variables and addresses alike, so whoever may edit it could have any variable sent anywhere. Whoever
# deploys it says in this one which may be named.
ALLOWED_VARIABLES: Final = "VECTORFERRY_ALLOWED_VARIABLES"
TEMPLATE: Final = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}|(?P<malformed>\$\{)")


def resolve(settings: SyncSettings, environ: Mapping[str, str], where: str | None = None) -> SyncSettings:
    """The settings with every ``${NAME}`` in a text or secret replaced from `environ`, then validated again.

    ``$${`` stands for a literal ``${``. What a variable holds is never searched for templates, so call it once.
    Raises `ConfigurationError` with a line per variable that is not set; it begins with `where`, by default the
    place that the settings were read from. Where `environ` holds ``VECTORFERRY_ALLOWED_VARIABLES``, it raises the same
    for a variable that none of its names and patterns (``MIXPEEK_*``, separated by commas or spaces) allows.
    """
    return resolve_part(settings, environ, where or settings.where)


def resolve_part(part: SomeModel, environ: Mapping[str, str], where: str, path: KeyPath = ()) -> SomeModel:
    """Like `resolve`, for only the part of the settings at `path`: a search needs no source's key."""
    resolver = _Resolver(environ, context={"where": where})
    resolved = resolver.model(part, path)
    if resolver.problems:
        raise ConfigurationError(joined(where, resolver.problems))
    return resolved


class _Resolver:
    """Walks settings, replaces templates, and collects every problem on the way."""

    def __init__(self, environ: Mapping[str, str], context: Mapping[str, Any]) -> None:
        self.problems: list[tuple[KeyPath, str]] = []
        self._environ = environ
        self._context = context

    def model(self, model: SomeModel, path: KeyPath) -> SomeModel:
        """The model with its texts replaced, validated as if they had been written out."""
        fields = type(model).model_fields
        old = {name: getattr(model, name) for name in fields}
        new = {name: self._value(value, (*path, fields[name].alias or name)) for name, value in old.items()}
        changed = {name for name in fields if new[name] != old[name]}
        if not changed:
            return model
        given = {name: new[name] for name in fields if name in model.model_fields_set | changed}
        try:
            return type(model).model_validate(given, context=self._context, by_alias=False, by_name=True)
        except ValidationError as error:
            self.problems += [((*path, *below), text) for below, text in validation_lines(error, {})]
            return model

    def _value(self, value: Any, path: KeyPath) -> Any:
        if isinstance(value, SecretStr):
            return SecretStr(self._text(value.get_secret_value(), path))
        if type(value) is str:
            return self._text(value, path)
        if isinstance(value, BaseModel):
            return self.model(value, path)
        if isinstance(value, tuple | list):
            return type(value)(self._value(item, (*path, index)) for index, item in enumerate(value))
        if isinstance(value, dict):
            return {key: self._value(item, (*path, str(key))) for key, item in value.items()}
        return value

    def _text(self, text: str, path: KeyPath) -> str:
        replaced = TEMPLATE.sub(lambda match: self._replacement(match, path), text)
        if text and not replaced:
            self.problems.append((path, "the environment variable it names is empty; give it a value"))
        return replaced

    def _replacement(self, match: re.Match[str], path: KeyPath) -> str:
        if match["malformed"]:
            self.problems.append((path, "`${` without a variable name and `}`; for a literal `${` write `$${`"))
            return match[0]
        if not match["name"]:
            return "${"
        return self._variable(match["name"], path)

    def _variable(self, name: str, path: KeyPath) -> str:
        if not self._is_allowed(name):
            self.problems.append((path, _not_allowed(name)))
            return f"${{{name}}}"
        value = self._environ.get(name)
        if value is None:
            self.problems.append((path, _not_set(name, filter(self._is_allowed, self._environ))))
            return f"${{{name}}}"
        if any(ord(char) < 32 or ord(char) == 127 for char in value):
            self.problems.append((path, f"environment variable {name} holds a line break or control character"))
        return value

    def _is_allowed(self, name: str) -> bool:
        allowed = self._environ.get(ALLOWED_VARIABLES)
        patterns = ["*"] if allowed is None else re.split(r"[,\s]+", allowed)
        return any(fnmatchcase(name, pattern) for pattern in patterns)


def _not_allowed(name: str) -> str:
    shown = without_secret(name)
    return f"environment variable {shown} may not be named here; whoever deploys this lists it in {ALLOWED_VARIABLES}"


def _not_set(name: str, known: Iterable[str]) -> str:
    if looks_secret(name):
        return "`${…}` takes the name of an environment variable; what stands there looks like the secret itself"
    # Only a name that is nearly the same: of the machine's other variables nobody wants to hear.
    if near := difflib.get_close_matches(name, list(known), n=1, cutoff=0.85):
        return f"environment variable {name} is not set; did you mean {near[0]}, which is?"
    return f"environment variable {name} is not set; run `export {name}=…` first"
