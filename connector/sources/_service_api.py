"""What the API of every service over HTTP has, whatever its paths are."""

from __future__ import annotations

from vectorferry.connector._source import Usage
from vectorferry.connector.http import ApiClient

__all__ = ["ServiceApi"]


class ServiceApi:
    """Owns the client that a service is asked through."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    @property
    def host(self) -> str:
        """The service's host, for messages."""
        return self._client.host

    @property
    def usage(self) -> Usage:
        """What the requests have cost so far."""
        return self._client.usage

    def identity(self, service: str) -> dict[str, str]:
        """Who asks, as far as it is known without asking."""
        return self._client.identity(service)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()
