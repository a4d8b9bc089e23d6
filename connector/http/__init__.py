"""The HTTP client that every source shares, with its settings and errors."""

from vectorferry.connector.http._client import ApiClient
from vectorferry.connector.http._errors import (
    ForbiddenError,
    NotFoundError,
    RefusedError,
    UnreadableError,
    UnsendableError,
    UnsureError,
    one_line,
    server_message,
)
from vectorferry.connector.http._exchange import ACCEPTED, Answer, Unpacker
from vectorferry.connector.http._pace import retry_after
from vectorferry.connector.http._settings import (
    ApiSourceSettings,
    ClientSettings,
    RetryPolicy,
    check_base_url,
    is_loopback,
    segment,
)

__all__ = [
    "ACCEPTED",
    "Answer",
    "ApiClient",
    "ApiSourceSettings",
    "ClientSettings",
    "ForbiddenError",
    "NotFoundError",
    "RefusedError",
    "RetryPolicy",
    "Unpacker",
    "UnreadableError",
    "UnsendableError",
    "UnsureError",
    "check_base_url",
    "is_loopback",
    "one_line",
    "retry_after",
    "segment",
    "server_message",
]
