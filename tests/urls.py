"""Addresses: the test server's, for another user or another database, and those of proxies in the environment."""

from __future__ import annotations

from typing import Final

import pytest
from sqlalchemy.engine import URL, make_url

__all__ = ["PROXY_SECRETS", "UNUSABLE_PROXIES", "as_user", "for_sqlalchemy", "in_database", "set_proxies"]


def as_user(url: str, user: str, password: str | None = None) -> str:
    """The same database as somebody else."""
    return make_url(url).set(username=user, password=password).render_as_string(hide_password=False)


def in_database(url: str, database: str) -> str:
    """Another database of the same server."""
    return make_url(url).set(database=database).render_as_string(hide_password=False)


def for_sqlalchemy(url: str) -> URL:
    """The same, with psycopg as the driver."""
    return make_url(url).set(drivername="postgresql+psycopg")


PROXY_SECRETS: Final = ("ferry-user", "4711", "ferry-pass")

UNUSABLE_PROXIES: Final = (
    "http://ferry-user:ferry-pass#4711@proxy.example:3128",
    "http://ferry-user:ferry-pass/4711@proxy.example:3128",
    "http://ferry-user:4711#ferry-pass@proxy.example:3128",
    "http://ferry-user:4711/ferry-pass@proxy.example:3128",
    "http://ferry-user:ferry-pass@",
)
"""Passwords that were not percent-encoded: what is left of them may look like a host, a port or a path."""


def set_proxies(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    """Have the environment name these and no others."""
    for name in ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
