"""The files of deploy/ as what would read them reads them: Compose's variables, merging and `extends`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

__all__ = ["DEPLOY", "NAMES", "compose", "read_yaml"]

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
NAMES: Final = {"POSTGRES_PASSWORD": "secret1", "REDIS_PASSWORD": "secret2"}
"""What a user has to say in deploy/.env."""
_VARIABLE: Final = re.compile(r"\$(?:(\$)|\{(\w+)(?:(:[-?])([^}]*))?\})")


def read_yaml(name: str) -> Any:
    """One document of deploy/."""
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


def compose(*names: str, variables: Mapping[str, str] = NAMES) -> dict[str, Any]:
    """These files together, each over the ones before it. Raises `KeyError` for a variable that has to be there."""
    merged: dict[str, Any] = {}
    for name in names:
        merged = _over(merged, read_yaml(name))
    services = merged["services"]
    for name, service in services.items():
        if extended := service.pop("extends", None):
            base = read_yaml(extended["file"])["services"][extended["service"]]
            services[name] = _over(base, service)
    interpolated: dict[str, Any] = _interpolated(merged, variables)
    return interpolated


def _over(below: Any, above: Any) -> Any:
    """Mappings are merged. Compose replaces commands and appends other lists, of which none is said twice here."""
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {key: _over(below.get(key), value) for key, value in above.items()}
    return above


def _interpolated(tree: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(tree, dict):
        return {key: _interpolated(value, variables) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_interpolated(each, variables) for each in tree]
    return _VARIABLE.sub(lambda match: _value(match, variables), tree) if isinstance(tree, str) else tree


def _value(match: re.Match[str], variables: Mapping[str, str]) -> str:
    dollar, name, operator, operand = match.groups()
    if dollar:
        return "$"
    if variables.get(name):
        return variables[name]
    if operator == ":-":
        return str(operand)
    raise KeyError(f"{name} {operand or 'is not set'}")
