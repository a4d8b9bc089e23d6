"""Database addresses: accepted as people write them, shown without their password."""

from __future__ import annotations

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from connector import ConfigurationError

__all__ = ["parse_url", "shown"]

_SCHEMES = ("postgres", "postgresql", "postgresql+psycopg")


def parse_url(text: str) -> URL:
    """An address for SQLAlchemy with psycopg. Raises `ConfigurationError`, without repeating the address."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            "destinations.pgvector.url is no database address; write postgresql://user:password@host:5432/database"
        ) from None
    if url.drivername not in _SCHEMES:
        raise ConfigurationError(
            f"destinations.pgvector.url starts with {url.drivername}://; pgvector needs postgresql://"
        )
    return url.set(drivername="postgresql+psycopg")


def shown(url: URL) -> str:
    """Host, port and database: enough to know which server is meant, nothing secret."""
    host = url.host or url.query.get("host", "localhost")
    port = f":{url.port}" if url.port else ""
    return f"{host}{port}/{url.database or ''}"
