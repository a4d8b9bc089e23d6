"""Pinecone as a destination, with its manifest in Postgres."""

from vectorferry.destinations.pinecone._destination import PineconeDestination
from vectorferry.destinations.pinecone._settings import ManifestSettings, PineconeSettings

__all__ = ["ManifestSettings", "PineconeDestination", "PineconeSettings"]
