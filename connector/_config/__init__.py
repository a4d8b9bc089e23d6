"""From a YAML file to typed settings, with errors that name file, key and fix and never repeat a value."""

from vectorferry.connector._config._load import load_settings, parse_settings
from vectorferry.connector._config._resolve import resolve, resolve_part

__all__ = ["load_settings", "parse_settings", "resolve", "resolve_part"]
