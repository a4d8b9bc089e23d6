"""The stores that features are upserted into."""

from destinations._embedded import EmbeddedPostgres
from destinations.pgvector import PgvectorDestination, PgvectorSettings
from destinations.pinecone import PineconeDestination, PineconeSettings

__all__ = ["EmbeddedPostgres", "PgvectorDestination", "PgvectorSettings", "PineconeDestination", "PineconeSettings"]
