"""The HTTP client that every source shares, with its settings and errors."""

from vectorferry.connector.http._allowance import PATIENCE, Borrower
from vectorferry.connector.http._answer import Answer, Meaning, in_words, meaning_of, retry_after
from vectorferry.connector.http._client import ApiClient, hashed_key
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
from vectorferry.connector.http._exchange import ACCEPTED, Unpacker
from vectorferry.connector.http._settings import (
    ApiSourceSettings,
    ClientSettings,
    Params,
    RetryPolicy,
    can_travel,
    check_base_url,
    environment_proxy,
    is_loopback,
    query_of,
    segment,
)

__all__ = [
    "ACCEPTED",
    "PATIENCE",
    "Answer",
    "ApiClient",
    "ApiSourceSettings",
    "Borrower",
    "ClientSettings",
    "ForbiddenError",
    "Meaning",
    "NotFoundError",
    "Params",
    "RefusedError",
    "RetryPolicy",
    "Unpacker",
    "UnreadableError",
    "UnsendableError",
    "UnsureError",
    "can_travel",
    "check_base_url",
    "environment_proxy",
    "hashed_key",
    "in_words",
    "is_loopback",
    "meaning_of",
    "one_line",
    "query_of",
    "retry_after",
    "segment",
    "server_message",
]
