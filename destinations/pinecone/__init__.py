"""Pinecone as a destination, with its manifest in Postgres."""

from destinations.pinecone._destination import PineconeDestination
from destinations.pinecone._settings import ManifestSettings, PineconeSettings

__all__ = ["ManifestSettings", "PineconeDestination", "PineconeSettings"]
