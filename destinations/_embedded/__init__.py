"""Postgres with pgvector from a wheel, for people who have no server yet."""

from ._postgres import EmbeddedPostgres

__all__ = ["EmbeddedPostgres"]
