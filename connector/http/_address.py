"""Where requests may go: one checked base URL, and paths below it. The key never travels anywhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Final, TypeAlias
from urllib.parse import SplitResult, quote, urlencode, urlsplit

__all__ = ["Address", "Params", "check_base_url", "segment"]

Params: TypeAlias = Mapping[str, str | int | Sequence[str]]
"""What stands in a query; a list is the same parameter once for each of its values."""

MAX_SEGMENT: Final = 2_000


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


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("is not a URL; it should look like https://api.example.com") from None
    return parts


def is_loopback(host: str) -> bool:
    """Whether a host name means this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def segment(value: str) -> str:
    """An id as one path segment, whatever characters it holds.

    Raises `ValueError` for what cannot be one: empty, ``.``, ``..``, longer than 2,000 characters, or text that
    UTF-8 cannot hold.
    """
    if value in ("", ".", "..") or len(value) > MAX_SEGMENT:
        raise ValueError("not usable as part of a path")
    return quote(value, safe="")


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
        if not path.startswith("/") or path.startswith("//") or any(char in path for char in "?#\\"):
            raise ValueError("a path begins with one slash and holds no query")
        if any(part in (".", "..") for part in path.split("/")):
            raise ValueError("a path holds no dot segments")
        query = f"?{urlencode(params, doseq=True)}" if params else ""
        return f"{self.base_url}{path}{query}"
