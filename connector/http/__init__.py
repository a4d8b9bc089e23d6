"""The HTTP client that every source shares, with its settings and errors."""

from connector.http._address import check_base_url, segment
from connector.http._client import ApiClient
from connector.http._errors import NotFoundError, RefusedError, UnreadableError
from connector.http._exchange import Answer
from connector.http._judge import retry_after
from connector.http._settings import ApiSourceSettings, ClientSettings, RetryPolicy
from connector.http._text import one_line, server_message

__all__ = [
    "Answer",
    "ApiClient",
    "ApiSourceSettings",
    "ClientSettings",
    "NotFoundError",
    "RefusedError",
    "RetryPolicy",
    "UnreadableError",
    "check_base_url",
    "one_line",
    "retry_after",
    "segment",
    "server_message",
]
