"""Mixpeek's assets and features API (its first generation, with or without ``/v1`` in front of every path)."""

from vectorferry.connector.sources.mixpeek._settings import MixpeekSettings
from vectorferry.connector.sources.mixpeek._source import MixpeekSource

__all__ = ["MixpeekSettings", "MixpeekSource"]
