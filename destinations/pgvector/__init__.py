"""Postgres with pgvector as a destination."""

from vectorferry.destinations.pgvector._destination import PgvectorDestination
from vectorferry.destinations.pgvector._measures import VectorMeasures
from vectorferry.destinations.pgvector._settings import PgvectorSettings

__all__ = ["PgvectorDestination", "PgvectorSettings", "VectorMeasures"]
