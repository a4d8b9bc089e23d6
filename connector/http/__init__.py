"""The HTTP client that every source shares, with its settings and errors."""

from connector.http._address import segment
from connector.http._client import ApiClient
from connector.http._errors import NotFoundError, RefusedError, UnreadableError
from connector.http._settings import ApiSourceSettings, ClientSettings, RetryPolicy
from connector.http._text import one_line

__all__ = [
    "ApiClient",
    "ApiSourceSettings",
    "ClientSettings",
    "NotFoundError",
    "RefusedError",
    "RetryPolicy",
    "UnreadableError",
    "one_line",
    "segment",
]
