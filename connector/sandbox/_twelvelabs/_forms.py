"""Request bodies: forms in several parts, and JSON objects."""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_bytes, policy
from typing import Any
from urllib.parse import parse_qsl

import orjson

from vectorferry.connector.sandbox._http import RefusedError, Request
from vectorferry.connector.sandbox._twelvelabs._errors import invalid

__all__ = ["Form", "json_body", "json_field", "object_in", "read_form", "required"]

Form = dict[str, list[str]]


def read_form(request: Request) -> Form:
    """The fields of a form by name, each with every value; of a file it is the name that counts."""
    fields: Form = {}
    for name, value in _fields(request):
        fields.setdefault(name, []).append(value)
    return fields


def required(form: Form, name: str) -> str:
    """A field's value; raises a `RefusedError` when it is not there."""
    if not form.get(name) or not form[name][0]:
        raise RefusedError(
            400, f"The {name} parameter is required but was not provided.", kind="parameter_not_provided"
        )
    return form[name][0]


def json_field(form: Form, name: str) -> dict[str, Any]:
    """A field that holds a JSON object, as text; an empty one when it is not there."""
    return _object(form[name][0].encode(), name) if name in form else {}


def json_body(request: Request) -> dict[str, Any]:
    """The body, which is a JSON object."""
    return _object(request.body, "body")


def object_in(body: dict[str, Any], name: str) -> dict[str, Any]:
    """A part of the body that is an object; an empty one when it is null or not there."""
    value = body.get(name) or {}
    if not isinstance(value, dict):
        raise invalid(name, "It must be an object.")
    return value


def _object(text: bytes, name: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise invalid(name, "It must be a JSON object.")
    return value


def _fields(request: Request) -> Iterator[tuple[str, str]]:
    kind = request.headers.get("Content-Type", "")
    if not kind.startswith("multipart/form-data"):
        yield from parse_qsl(request.body.decode(errors="replace"))
        return
    message = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + request.body, policy=policy.HTTP)
    for part in message.iter_parts():
        name = str(part.get_param("name", "", header="Content-Disposition"))
        content = part.get_payload(decode=True)
        yield name, part.get_filename() or (content.decode(errors="replace") if isinstance(content, bytes) else "")
