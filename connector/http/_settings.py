"""How a service is talked to: the one checked address that its key may travel to, and what users set."""

from __future__ import annotations

import re
from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final, TypeAlias
from urllib.parse import SplitResult, quote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
from pydantic import Field, SecretStr, ValidationInfo, field_validator

from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector._model._settings_base import Settings
from vectorferry.connector._protocols._scale import Leg, Load
from vectorferry.connector._protocols._source import SourceSettings


class Query(str):
    """A query as it stands in an address, written once for many requests."""

    __slots__ = ()


Params: TypeAlias = Mapping[str, str | int | Sequence[str]] | Query
"""What stands in a query; a list is the same parameter once for each of its values."""

MAX_SEGMENT: Final = 2_000
UNRESERVED: Final = re.compile(r"[\w.~-]+", re.ASCII)
"""What stands in an address as it is."""

BELOW: Final = re.compile(r"/(?!/)[^?#\\]*\Z")
DOT_SEGMENT: Final = re.compile(r"/\.\.?(?:/|\Z)")


ANSWER_SECONDS: Final = 0.2
"""What an answer is taken to need on its way; no service promises anything."""

BYTES_PER_NUMBER: Final = 10.5
"""Of JSON: a thousand documents of 1,408 dimensions came to 15.4 MB, half a MB of which is not numbers."""

BYTES_PER_ROW: Final = 250
"""Of JSON, besides what is stored of a row: documents that are stored in 290 bytes came as 550."""

PARSE_SECONDS: Final = 1 / (20_600 * 1_408)
"""For one number on one core: 20,600 such documents a second, by simdjson's buffers."""


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
    # TwelveLabs' largest known answer has 46 MB.
    max_answer_mb: int = Field(default=64, ge=1, le=4_096, description="largest answer that is read, in megabytes")
    max_parsed_mb: int = Field(
        default=256, ge=1, le=65_536, description="memory that one answer may take when it is parsed, in megabytes"
    )
    answers_in_flight_mb: int = Field(
        default=128, ge=1, le=65_536, description="answers that are read at the same time, in megabytes; one always is"
    )

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, value: str, info: ValidationInfo) -> str:
        if "${" not in value:
            check_base_url(value, allow_http=bool(info.data.get("allow_http")))
        return value

    def requests_for(self, load: Load) -> tuple[int, int]:
        """How many requests list so much, and how many read it: a page of assets each, and an asset each."""
        return -(-load.assets // int(getattr(self, "page_size", 100))), load.assets

    def rows_for(self, load: Load) -> int:
        """How many rows the answers hold: an asset when it is listed and when it is read, a feature once."""
        return 2 * load.assets + load.features

    def legs(self, load: Load) -> Sequence[Leg]:
        """Listing and reading, as long as the slowest of its bounds takes."""
        listing, reading = self.requests_for(load)
        kinds: Mapping[str, int] = getattr(self, "requests_per_minute_by_kind", {})
        limits = (
            (listing + reading, self.requests_per_minute, "requests_per_minute"),
            (listing, kinds.get("list"), "requests_per_minute_by_kind.list"),
            (reading, kinds.get("read"), "requests_per_minute_by_kind.read"),
        )
        bounds = [(60 * requests / limit, f"{key}: {limit:,}") for requests, limit, key in limits if limit]
        bounds += [
            (
                (listing + reading) * ANSWER_SECONDS / self.concurrency,
                f"concurrency: {self.concurrency}, {ANSWER_SECONDS * 1000:.0f} ms an answer",
            ),
            (load.values * PARSE_SECONDS, "reading numbers on one core"),
        ]
        seconds, bound = max(bounds)
        misfits = (
            [] if self.requests_per_minute else ["no requests_per_minute is set: what your plan allows may be less"]
        )
        size = round(load.values * BYTES_PER_NUMBER + self.rows_for(load) * (load.feature_bytes + BYTES_PER_ROW))
        return [Leg(f"read {self.type}", "read", seconds, bound, listing + reading, size, misfits=misfits)]

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
            max_parsed_bytes=self.max_parsed_mb * 1_000_000,
            answers_in_flight_bytes=self.answers_in_flight_mb * 1_000_000,
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
    max_answer_bytes: int = 64_000_000
    max_parsed_bytes: int = 256_000_000
    answers_in_flight_bytes: int = 128_000_000


class Address:
    """A checked base URL. Raises `ValueError` like `check_base_url`."""

    def __init__(self, base_url: str, *, allow_http: bool) -> None:
        self.base_url = check_base_url(base_url, allow_http=allow_http)
        parts = _split(self.base_url)
        self.host = parts.netloc
        self.encrypted = parts.scheme == "https"

    def url(self, path: str, params: Params) -> str:
        """The URL of a path below the base URL.

        The path begins with one slash; ids in it have gone through `segment`. Raises `ValueError` for anything that
        could lead elsewhere.
        """
        if not BELOW.match(path):
            raise ValueError("a path begins with one slash and holds no query")
        if DOT_SEGMENT.search(path):
            raise ValueError("a path holds no dot segments")
        return f"{self.base_url}{path}?{_query(params)}" if params else f"{self.base_url}{path}"


def query_of(params: Params) -> Params:
    """These parameters as they stand in an address; as they are where none can hold them: the client says so."""
    try:
        return _query(params)
    except UnicodeEncodeError:
        return params


def _query(params: Params) -> Query:
    return params if isinstance(params, Query) else Query(urlencode(params, doseq=True))


def check_base_url(url: str, *, allow_http: bool | None) -> str:
    """The URL without a trailing slash. Raises `ValueError` that says what is wrong, never repeating the URL.

    `allow_http` is the setting of this name; None where there is none, and plain http goes to this machine only.
    """
    parts = _split(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("should begin with https://")
    if not parts.hostname or not url.isprintable() or any(char.isspace() or char == "\\" for char in url):
        raise ValueError("should be https:// and a host name, like https://api.example.com")
    if parts.username is not None or parts.password is not None:
        raise ValueError("should not hold a user name or password")
    if "?" in url or "#" in url:
        raise ValueError("should end before any ? or #")
    if parts.scheme == "http" and not (allow_http or is_loopback(parts.hostname)):
        otherwise = "" if allow_http is None else ", or set allow_http: true"
        raise ValueError(f"would send the key unencrypted over http; use https{otherwise}")
    return url.rstrip("/")


def environment_proxy(url: str) -> httpx.Proxy | None:
    """The proxy that the environment names for this address, user and password apart from its URL; None where there is
    none, and for plain http: a proxy would read the key.

    Raises `ConfigurationError`, which repeats nothing of the proxy's address, for one that cannot be used.
    """
    parts, proxies = urlsplit(url), getproxies()
    name = "https" if "https" in proxies else "all"
    if parts.scheme != "https" or name not in proxies:
        return None
    # NO_PROXY has ::1 without the brackets of a URL, and may have a port.
    if proxy_bypass(parts.netloc) or proxy_bypass(parts.hostname or ""):
        return None
    try:
        proxy = _as_proxy(proxies[name])
    except (ValueError, httpx.InvalidURL) as error:
        problem = type(error).__name__
    else:
        if proxy.url.scheme in ("http", "https"):
            return proxy
        raise ConfigurationError(
            "The environment names a SOCKS proxy, which is not spoken to; name an HTTP one in HTTPS_PROXY or "
            f"ALL_PROXY, or {parts.netloc} in NO_PROXY."
        )
    raise ConfigurationError(
        f"The proxy settings of the environment cannot be used ({problem}); check {name.upper()}_PROXY. "
        "In a user or a password, write / ? # and @ as %2F %3F %23 and %40."
    )


def _as_proxy(address: str) -> httpx.Proxy:
    proxy = httpx.Proxy(address if "://" in address else f"http://{address}")
    # Where / ? or # cuts a password in two, a user looks like a host, and the real host is behind an @ that is left.
    if not proxy.url.host or "@" in f"{proxy.url.raw_path!r}{proxy.url.fragment}":
        raise httpx.InvalidURL("no host")
    return proxy


def segment(value: str) -> str:
    """An id as one path segment, whatever characters it holds.

    Raises `ValueError` for what cannot be one: empty, ``.``, ``..``, longer than 2,000 characters, or text that
    UTF-8 cannot hold.
    """
    if value in ("", ".", "..") or len(value) > MAX_SEGMENT:
        raise ValueError("not usable as part of a path")
    return value if UNRESERVED.fullmatch(value) else quote(value, safe="")


def can_travel(value: str) -> bool:
    """Whether a header can hold this text."""
    return value.isascii() and value.isprintable()


def is_loopback(host: str) -> bool:
    """Whether a host name means this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("is not a URL; it should look like https://api.example.com") from None
    return parts
