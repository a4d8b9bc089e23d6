"""How a service is talked to: what users set, and what the client is given."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from vectorferry.connector._plugins import SourceSettings
from vectorferry.connector._settings_base import Settings
from vectorferry.connector.http._address import check_base_url

__all__ = ["ApiSourceSettings", "ClientSettings", "RetryPolicy"]


class RetryPolicy(Settings):
    """How often and how long one request is tried. The defaults outlast a one-minute rate limit window."""

    attempts: int = Field(default=8, ge=1, le=100, description="how often one request is sent at most")
    total_seconds: float = Field(
        default=300, gt=0, le=86_400, description="time for one request with all its retries and waits"
    )
    timeout_seconds: float = Field(default=60, gt=0, le=3_600, description="longest silence within one attempt")
    connect_seconds: float = Field(default=15, gt=0, le=600, description="time to open a connection")
    first_wait: float = Field(default=0.5, gt=0, le=60, description="seconds before the second attempt; then doubling")
    longest_wait: float = Field(default=30, gt=0, le=3_600, description="most seconds between two attempts")
    longest_retry_after: float = Field(
        default=120,
        gt=0,
        le=3_600,
        description="most seconds waited when the service asks for more; too many requests for longer end the run",
    )


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What one `ApiClient` needs to know.

    `key_path` names, for error messages, where the user set the key: ``source.api_key (${MIXPEEK_API_KEY})``.
    `key_advice` is a sentence that follows it when the service refuses the key. The key travels as
    ``Authorization: Bearer``, or bare in `key_header` when that is set.
    `kinds` are the requests per minute of each kind of request that has a limit of its own.
    """

    base_url: str
    api_key: SecretStr
    key_path: str
    key_header: str | None = None
    key_advice: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    concurrency: int = 8
    requests_per_minute: int | None = None
    kinds: Mapping[str, int] = field(default_factory=dict)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    allow_http: bool = False
    max_answer_bytes: int = 256_000_000


class ApiSourceSettings(SourceSettings, ABC):
    """What every source that reads an HTTP API lets its users set."""

    allow_http: bool = Field(
        default=False, description="allow plain http to other hosts than this machine: the key travels unencrypted"
    )
    api_key: SecretStr = Field(description="the service's API key; write ${NAME} to take it from the environment")
    base_url: str = Field(description="where the service is; the key is sent to this host and no other")
    concurrency: int = Field(default=8, ge=1, le=256, description="requests in flight at the same time")
    requests_per_minute: int | None = Field(
        default=None, ge=1, le=600_000, description="most requests per minute, retries included; none: no limit"
    )
    retry: RetryPolicy = Field(default=RetryPolicy(), description="when and how long failed requests are tried again")
    max_answer_mb: int = Field(default=256, ge=1, le=4_096, description="largest answer that is read, in megabytes")

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, value: str, info: ValidationInfo) -> str:
        if "${" not in value:
            check_base_url(value, allow_http=bool(info.data.get("allow_http")))
        return value

    def client_settings(
        self,
        *,
        key_variable: str,
        key_header: str | None = None,
        key_advice: str = "",
        headers: Mapping[str, str] | None = None,
        kinds: Mapping[str, int] | None = None,
    ) -> ClientSettings:
        """These settings for an `ApiClient`; `key_variable` is the environment variable that usually holds the key."""
        return ClientSettings(
            base_url=self.base_url,
            api_key=self.api_key,
            key_path=f"source.api_key (by default ${{{key_variable}}})",
            key_header=key_header,
            key_advice=key_advice,
            headers=dict(headers or {}),
            concurrency=self.concurrency,
            requests_per_minute=self.requests_per_minute,
            kinds=dict(kinds or {}),
            retry=self.retry,
            allow_http=self.allow_http,
            max_answer_bytes=self.max_answer_mb * 1_000_000,
        )
