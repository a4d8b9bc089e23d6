"""The stores that features are upserted into."""

from vectorferry.destinations._embedded import EmbeddedPostgres
from vectorferry.destinations.pgvector import PgvectorDestination, PgvectorSettings
from vectorferry.destinations.pinecone import PineconeDestination, PineconeSettings

__all__ = ["EmbeddedPostgres", "PgvectorDestination", "PgvectorSettings", "PineconeDestination", "PineconeSettings"]
