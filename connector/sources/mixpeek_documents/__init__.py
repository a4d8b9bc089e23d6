"""Mixpeek's documents API: namespaces, collections, and documents with named vectors."""

from vectorferry.connector.sources.mixpeek_documents._settings import MixpeekDocumentsSettings
from vectorferry.connector.sources.mixpeek_documents._source import MixpeekDocumentsSource

__all__ = ["MixpeekDocumentsSettings", "MixpeekDocumentsSource"]
