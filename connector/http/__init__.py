"""The HTTP client that every source shares, with its settings and errors."""

from vectorferry.connector.http._address import check_base_url, is_loopback, segment
from vectorferry.connector.http._client import ApiClient
from vectorferry.connector.http._errors import (
    ForbiddenError,
    NotFoundError,
    RefusedError,
    UnreadableError,
    UnsendableError,
    UnsureError,
)
from vectorferry.connector.http._exchange import Answer
from vectorferry.connector.http._settings import ApiSourceSettings, ClientSettings, RetryPolicy
from vectorferry.connector.http._text import one_line, server_message
from vectorferry.connector.http._unpack import ACCEPTED, Unpacker
from vectorferry.connector.http._waits import retry_after

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
