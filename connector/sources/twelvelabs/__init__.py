"""TwelveLabs' API, version 1.3: indexes with their indexed assets, and embedding tasks."""

from vectorferry.connector.sources.twelvelabs._settings import DEFAULT_COLUMNS, TwelveLabsSettings
from vectorferry.connector.sources.twelvelabs._source import TwelveLabsSource
from vectorferry.connector.sources.twelvelabs._tables import ENTITY_TABLES, INDEXES

__all__ = ["DEFAULT_COLUMNS", "ENTITY_TABLES", "INDEXES", "TwelveLabsSettings", "TwelveLabsSource"]
