"""What an answer to a write means for the records that were sent."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import orjson

from vectorferry.connector import RetryableError
from vectorferry.connector.http import Answer, server_message

from ._bodies import Envelope
from ._errors import in_words, refusal

__all__ = ["Accepted", "Oversized", "Unacceptable", "Verdict", "Write", "judge"]

_INVALID_ARGUMENT: Final = 3
_OUT_OF_RANGE: Final = 11
_LSN_HEADERS: Final = ("x-pinecone-request-lsn", "x-pinecone-lsn-committed")
_LONGEST_LSN: Final = 18

_ABOUT_THE_INDEX: Final = ("documents api", "dimension of the index", "index configuration", "api-version")
"""Complaints that every record of the index would meet with."""


@dataclass(frozen=True, slots=True)
class Write:
    """One kind of write to one namespace. `what` names it: ``upserting into books``.

    `counted`: the answer says how many records were written. `needs_namespace`: one that is not there is a failure.
    """

    what: str
    path: str
    envelope: Envelope
    counted: bool = False
    needs_namespace: bool = True


@dataclass(frozen=True, slots=True)
class Accepted:
    """All of it was written; `lsn` is the namespace's log sequence number since then, 0 when it was not told."""

    lsn: int = 0


@dataclass(frozen=True, slots=True)
class Oversized:
    """The request is larger than the store takes."""

    words: str


@dataclass(frozen=True, slots=True)
class Unacceptable:
    """Nothing was written, because of at least one of the records."""

    words: str


Verdict = Accepted | Oversized | Unacceptable


def judge(answer: Answer, write: Write, records: int, key: str) -> Verdict:
    """What became of a request that holds so many records. `key` is blotted out where the answer repeats it.

    Raises what `refusal` does for everything that is not about the records.
    """
    if answer.status == HTTPStatus.OK:
        return _accepted(answer, write, records)
    if _is_missing_namespace(answer) and not write.needs_namespace:
        return Accepted()
    words = server_message(answer.body, key) or in_words(answer, key)
    code = _code(answer)
    if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or _says_oversized(answer, code, words):
        return Oversized(words)
    if answer.status == HTTPStatus.BAD_REQUEST and code in (None, _INVALID_ARGUMENT) and not _is_about_index(words):
        return Unacceptable(words)
    raise refusal(answer, write.what, key)


def _accepted(answer: Answer, write: Write, records: int) -> Accepted:
    """A page that a proxy put in place of the answer says 200 as well, and nothing was written then."""
    body = _parsed(answer)
    if body is None or (write.counted and body.get("upsertedCount") != records):
        raise RetryableError(f"Pinecone's host did not confirm what it was sent while {write.what}")
    return Accepted(max(_number(answer.headers.get(name, "")) for name in _LSN_HEADERS))


def _is_missing_namespace(answer: Answer) -> bool:
    """There is nothing to delete then. An index that is missing is told apart by its words."""
    return answer.status == HTTPStatus.NOT_FOUND and "namespace not found" in server_message(answer.body).lower()


def _says_oversized(answer: Answer, code: Any, words: str) -> bool:
    exceeds = "request size" in words.lower() and "exceeds" in words.lower()
    return answer.status == HTTPStatus.BAD_REQUEST and (code == _OUT_OF_RANGE or exceeds)


def _is_about_index(words: str) -> bool:
    return any(phrase in words.lower() for phrase in _ABOUT_THE_INDEX)


def _code(answer: Answer) -> Any:
    return (_parsed(answer) or {}).get("code")


def _parsed(answer: Answer) -> dict[str, Any] | None:
    try:
        body = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _LONGEST_LSN else 0
