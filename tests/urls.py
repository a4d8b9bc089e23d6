"""The test server's address, for another user or another database."""

from __future__ import annotations

from sqlalchemy.engine import URL, make_url

__all__ = ["as_user", "for_sqlalchemy", "in_database"]


def as_user(url: str, user: str, password: str | None = None) -> str:
    """The same database as somebody else."""
    return make_url(url).set(username=user, password=password).render_as_string(hide_password=False)


def in_database(url: str, database: str) -> str:
    """Another database of the same server."""
    return make_url(url).set(database=database).render_as_string(hide_password=False)


def for_sqlalchemy(url: str) -> URL:
    """The same, with psycopg as the driver."""
    return make_url(url).set(drivername="postgresql+psycopg")
