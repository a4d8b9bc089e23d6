"""TwelveLabs' API, version 1.3: indexes with their indexed assets, and embedding tasks."""

from vectorferry.connector.sources.twelvelabs._entities import ENTITY_TABLES
from vectorferry.connector.sources.twelvelabs._index_table import INDEXES
from vectorferry.connector.sources.twelvelabs._settings import TwelveLabsSettings
from vectorferry.connector.sources.twelvelabs._source import TwelveLabsSource

__all__ = ["ENTITY_TABLES", "INDEXES", "TwelveLabsSettings", "TwelveLabsSource"]
