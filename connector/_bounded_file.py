"""Reading a file that a user named: bounded in size, and never with a traceback."""

from __future__ import annotations

from pathlib import Path

from vectorferry.connector._errors import ConfigurationError

__all__ = ["read_bounded"]


def read_bounded(path: Path, max_bytes: int, hint: str) -> bytes:
    """All bytes of the file. Raises `ConfigurationError`; `hint` follows when there are more than `max_bytes`."""
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) > max_bytes:
        raise ConfigurationError(f"{path}: larger than {max_bytes:,} bytes; {hint}")
    return content
