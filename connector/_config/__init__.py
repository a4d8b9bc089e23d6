"""From a YAML file to typed settings, with errors that name file, key and fix and never repeat a value."""

from vectorferry.connector._config._load import load_settings, parse_part, parse_settings, project_folder
from vectorferry.connector._config._resolve import resolve, resolve_part

__all__ = ["load_settings", "parse_part", "parse_settings", "project_folder", "resolve", "resolve_part"]
