"""Postgres with pgvector from a wheel, for people who have no server yet."""

from vectorferry.destinations._embedded._server import EmbeddedPostgres, exposure

__all__ = ["EmbeddedPostgres", "exposure"]
