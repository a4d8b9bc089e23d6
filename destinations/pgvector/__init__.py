"""Postgres with pgvector as a destination."""

from destinations.pgvector._destination import PgvectorDestination
from destinations.pgvector._settings import PgvectorSettings

__all__ = ["PgvectorDestination", "PgvectorSettings"]
