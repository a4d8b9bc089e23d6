"""Values as services write them: objects, times, presigned addresses, filters, and fingerprints of what stays."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Set
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final

from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector._model._json import (
    CONTAINERS,
    DEEPEST,
    canonical_json,
    is_too_deep,
    parse_json,
    shallow_json,
)

SIGNED: Final = re.compile(
    r"^https?://[^?#\s]+\?(?:[^#]*&)?(?:x-amz-signature|x-goog-signature|signature|sig|expires)=", re.IGNORECASE
)
"""The same object under another signature is no change."""

USUAL_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?Z", re.ASCII)


def read_time(value: Any) -> datetime | None:
    """An ISO 8601 time, aware and in UTC; one without a zone is taken as UTC. None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
        if time.tzinfo is UTC:
            return time
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def time_text(value: Any) -> str | None:
    """A time as `datetime.isoformat` spells it in UTC, however it was spelled; None for anything else."""
    time = read_time(value)
    if time is None:
        return None
    usual = USUAL_TIME.fullmatch(value)
    if usual is None:
        return time.isoformat()
    # Printing a time takes four times as long as reading it.
    fraction = f".{usual[2]:0<6.6}" if time.microsecond else ""
    return f"{usual[1]}{fraction}+00:00"


def moment(value: Any) -> Any:
    """A time in one spelling; anything else as it is."""
    text = time_text(value)
    return value if text is None else text


def fingerprint_of(value: Any) -> str:
    """32 hexadecimal digits over a JSON value; other ones each time for what is nested too deeply to compare, so that
    it always counts as changed."""
    text = shallow_json(value)
    if text is None:
        if is_too_deep(value):
            return secrets.token_hex(16)
        text = canonical_json(value)
    return blake2b(text, digest_size=16).hexdigest()


def fingerprint_unsigned(value: Any) -> str:
    """The fingerprint of a JSON value without the signatures in it."""
    text = shallow_json(value)
    if text is not None and not (b"?" in text and b"://" in text):  # no address in it has a query
        return blake2b(text, digest_size=16).hexdigest()
    return fingerprint_of(value if is_too_deep(value) else without_signatures(value))


def is_signed(value: Any) -> bool:
    """Whether this is an address that stops working after a while."""
    return isinstance(value, str) and "?" in value and SIGNED.match(value) is not None


def lasting(value: Any, levels: int = DEEPEST) -> Any:
    """A JSON value without the presigned addresses in it. Raises `RecursionError` for one of more `levels` of objects
    and lists, as `is_too_deep` counts them."""
    if isinstance(value, CONTAINERS) and not levels:
        raise RecursionError(f"nested more than {DEEPEST} levels deep")
    if isinstance(value, dict):
        return {
            key: lasting(item, levels - 1) if type(item) in CONTAINERS else item
            for key, item in value.items()
            if type(item) is not str or "?" not in item or not is_signed(item)
        }
    if isinstance(value, list):
        return [lasting(item, levels - 1) for item in value if not is_signed(item)]
    return value


def without_signatures(value: Any) -> Any:
    """A JSON value with the query cut off every presigned address in it."""
    if isinstance(value, dict):
        return {key: without_signatures(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_signatures(item) for item in value]
    return value.partition("?")[0] if is_signed(value) else value


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises `ValueError` for anything else."""
    answer = parse_json(body)
    if not isinstance(answer, dict):
        raise ValueError("not a JSON object")
    return answer


def mixpeek_filters(filters: Mapping[str, Any], logical: Set[str], field: str) -> dict[str, Any]:
    """Nothing, or the filter as Mixpeek spells it: each key is one of its fields (``metadata.hello``), a list is any of
    its values. What is in the service's own form stays: `logical` are its words, and `field` is what its conditions
    call a field, which differ from one API to the other.

    Raises `ConfigurationError` for an ``AND`` that is no list.
    """
    if not filters:
        return {}

    def condition(name: str, value: Any) -> dict[str, Any]:
        if value is None:
            return {field: name, "operator": "is_null", "value": True}
        return {field: name, "operator": "in" if isinstance(value, list) else "eq", "value": value}

    own = {key: value for key, value in filters.items() if key in logical}
    conditions = [condition(key, value) for key, value in filters.items() if key not in logical]
    every = own.get("AND", [])
    if not isinstance(every, list):
        raise ConfigurationError("the filter's AND is no list of conditions")
    return {"filters": {**own, "AND": [*every, *conditions]}}
