"""Who may talk to a server on loopback: not the pages that a browser on the same machine has open. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

__all__ = ["Visitors"]

_LOCAL_NAMES: Final = frozenset({"localhost", "localhost.localdomain"})


class Visitors:
    """Refuses requests that a browser sends for a page from elsewhere.

    A page's script may ask a name of its own domain that has come to mean 127.0.0.1 (DNS rebinding); then `Host` says
    that name. Or it asks this address openly; then `Origin` says where the page is from. Numbers cannot be rebound.
    """

    def __init__(self, host: str) -> None:
        self._names = _LOCAL_NAMES | {host.lower()}

    def problem(self, headers: Mapping[str, str]) -> str | None:
        """Why a request with these headers is not answered, or None."""
        host = headers.get("Host", "")
        if not self._is_ours(f"//{host}"):
            return f"This sandbox is not {host[:80]!r}: ask it by its address, or as localhost"
        origin = headers.get("Origin")
        if origin is not None and origin.lower() != f"http://{host}".lower():
            return "This sandbox answers no page of another origin"
        return None

    def _is_ours(self, address: str) -> bool:
        try:
            name = urlsplit(address).hostname or ""
            return name in self._names or bool(ip_address(name))
        except ValueError:
            return False
