"""The HTTP client that every source shares, with its settings and errors."""

from connector.http._address import check_base_url, is_loopback, segment
from connector.http._client import ApiClient
from connector.http._errors import (
    ForbiddenError,
    NotFoundError,
    RefusedError,
    UnreadableError,
    UnsendableError,
    UnsureError,
)
from connector.http._exchange import Answer
from connector.http._settings import ApiSourceSettings, ClientSettings, RetryPolicy
from connector.http._text import one_line, server_message
from connector.http._unpack import ACCEPTED, Unpacker
from connector.http._waits import retry_after

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
