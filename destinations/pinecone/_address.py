"""Where indexes may be: the key is sent there, so it is not enough that somebody says so."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from vectorferry.connector import DestinationError
from vectorferry.connector.http import check_base_url, is_loopback

__all__ = ["checked_address", "index_address"]

_PINECONE: Final = ".pinecone.io"
"""Every index of Pinecone's own control plane is below it, those with a private endpoint too (docs.pinecone.io)."""


def checked_address(host: str) -> str:
    """The URL of an index at `host`. Raises `DestinationError` for one that no key can safely be sent to."""
    try:
        return check_base_url(host if "://" in host else f"https://{host}", allow_http=None)
    except ValueError as error:
        raise DestinationError(f"The address of a Pinecone index {error}.") from None


def index_address(host: str, control_plane: str) -> str:
    """Like `checked_address`, for a host that the control plane or the manifest has named.

    Raises `DestinationError` too when it is neither Pinecone's nor that of the control plane that was configured.
    """
    url = checked_address(host)
    there, configured = _name(url), _name(control_plane)
    if there.endswith(_PINECONE) or there == configured or (is_loopback(there) and is_loopback(configured)):
        return url
    raise DestinationError(
        f"A Pinecone index is said to be at {there}, which is neither below pinecone.io nor the host of "
        "destinations[].host.\nThe key was not sent there; check destinations[].host."
    )


def _name(url: str) -> str:
    return (urlsplit(url).hostname or "").lower().rstrip(".")
