"""Database addresses: accepted as people write them, shown without their password."""

from __future__ import annotations

from pydantic import SecretStr
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from connector import ConfigurationError

__all__ = ["check_url", "parse_url", "shown"]

_SCHEMES = ("postgres", "postgresql", "postgresql+psycopg")


def parse_url(text: str, key: str = "the `url`") -> URL:
    """An address for SQLAlchemy with psycopg; `key` is what an error calls it.

    Raises `ConfigurationError`, without repeating the address.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            f"{key} is no database address; write postgresql://user:password@host:5432/database"
        ) from None
    if url.drivername not in _SCHEMES:
        raise ConfigurationError(f"{key} should start with postgresql://")
    if "@" in (url.host or ""):
        raise ConfigurationError(f"{key} has two @: write one in a password as %40")
    return url.set(drivername="postgresql+psycopg")


def check_url(url: SecretStr | None) -> SecretStr | None:
    """The address itself, for a settings class. Raises `ValueError` for one that `parse_url` refuses; one that names
    environment variables is looked at when they are known."""
    if url is not None and "${" not in url.get_secret_value():
        try:
            parse_url(url.get_secret_value(), "the address")
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
    return url


def shown(url: URL) -> str:
    """Host, port and database: enough to know which server is meant, nothing secret."""
    host = url.host or url.query.get("host", "localhost")
    port = f":{url.port}" if url.port else ""
    return f"{host}{port}/{url.database or ''}"
