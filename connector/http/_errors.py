"""What a request can come to, beyond the tree that everything shares; and the one rule for what others say in messages:
short, on one line, and without the key."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

from vectorferry.connector._model._errors import CollectionError, SourceError
from vectorferry.connector._model._json import parse_json

LONGEST: Final = 300
"""Characters of a message that are still readable."""

LONGEST_BODY: Final = 1_000_000
"""Bytes of an error's body that are parsed: nobody has so much to say, and it is parsed more than once."""

DEEPEST: Final = 6
"""Levels of an error's body that are searched for words; FastAPI's 422, the deepest known, has three."""

TELLING: Final = 8
"""So many characters of the key in a row are a part of it that nobody should see."""

TELLING_TAIL: Final = 4
"""So many are at the end of a text, where more of them may have been cut off."""


class ForbiddenError(CollectionError):
    """403: the key is known, and may not do this. `code` is the service's word for why, if it has one."""

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class NotFoundError(CollectionError):
    """404 or 410: the service has nothing under this path."""


class UnsendableError(CollectionError):
    """A request that cannot be put into bytes: it holds what is no text (half of a surrogate pair), or is too long."""


class RefusedError(CollectionError):
    """The service does not accept the request itself (400, 405, 422, …); sending it again would not help.

    `code` is the service's word for why, if it has one.
    """

    def __init__(self, message: str, *, status: int, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class UnreadableError(SourceError):
    """No usable answer within the attempts and the time allowed, or one that is larger than allowed."""


class UnsureError(UnreadableError):
    """What was asked for may have been done or not: it went out, no usable answer came, and it is not sent twice."""


def one_line(text: str, longest: int = LONGEST, *, key: str = "") -> str:
    """Printable characters on one line, cut to a readable length, without the key or a part of it."""
    characters = (char if char.isprintable() else " " for char in text[: 4 * longest])
    line = without_key(" ".join("".join(characters).split()), key)
    return line if len(line) <= longest else f"{line[:longest]}…"


def without_key(text: str, key: str) -> str:
    """The text with the key, and every telling part of it, blotted out: services do echo keys.

    White space and control characters within the key are passed over: a service may have wrapped it. So is a key that
    it gives back as part of an address or of base64 found.
    """
    if not key:
        return text
    places = [place for place, char in enumerate(text) if char.isprintable() and not char.isspace()]
    hidden = _hidden("".join(text[place] for place in places), key)
    for start, end in reversed(hidden):
        text = f"{text[: places[start]]}***{text[places[end - 1] + 1 :]}"
    return text


def server_message(body: bytes, key: str = "") -> str:
    """What the service says went wrong, in its own words without the key; empty when it does not say.

    Mixpeek has sent three shapes (``error.message``, ``detail[].msg``, ``message``) and FastAPI's 422 a fourth.
    """
    try:
        words = _words(_parsed(body))
    except ValueError:
        words = _plain(body)
    return one_line(words, key=key)


def server_code(body: bytes) -> str:
    """The service's own word for what went wrong, at the top of its answer or under `error`; else empty."""
    try:
        answer = _parsed(body)
    except ValueError:
        return ""
    places = (answer, answer.get("error")) if isinstance(answer, dict) else ()
    codes = (place.get("code") for place in places if isinstance(place, dict))
    return next((one_line(code, 60) for code in codes if isinstance(code, str)), "")


def _parsed(body: bytes) -> Any:
    if len(body) > LONGEST_BODY:
        raise ValueError("too long for what went wrong")
    return parse_json(body)


def _hidden(text: str, key: str) -> list[tuple[int, int]]:
    """Where, from and to, telling parts of the key stand in the text; parts that touch are one."""
    size = min(TELLING, len(key))
    spellings = {*_spellings(key)}
    parts = {spelt[start : start + size] for spelt in spellings for start in range(len(spelt) - size + 1)}
    spans: list[tuple[int, int]] = []
    for start in range(len(text)):
        part = text[start : start + size]
        if part in parts or any(_is_tail(part, spelt) for spelt in spellings):
            first = spans.pop()[0] if spans and spans[-1][1] >= start else start
            spans.append((first, start + len(part)))
    return spans


def _spellings(key: str) -> Iterator[str]:
    """As it is, in an address, and in base64, where it looks different by how much stands before it. A key too short to
    be one is encoded as what stands in many words, and then hides nothing but these."""
    yield key
    if len(key) < TELLING:
        return
    yield quote(key, safe="")
    for before in range(3):
        yield b64encode(bytes(before) + key.encode())[4 if before else 0 :].decode().rstrip("=")


def _is_tail(rest: str, key: str) -> bool:
    """Whether the last characters of a text are the first of the key."""
    return TELLING_TAIL <= len(rest) < TELLING and key.startswith(rest)


def _plain(body: bytes) -> str:
    text = body[: 8 * LONGEST].decode("utf-8", "replace").strip()
    return "" if text.startswith("<") else text


def _words(answer: Any, levels: int = DEEPEST) -> str:
    if isinstance(answer, str):
        return answer
    if not levels:
        return ""
    if isinstance(answer, list):
        return "; ".join(filter(None, (_words(item, levels - 1) for item in answer[:5])))
    if not isinstance(answer, dict):
        return ""
    if isinstance(answer.get("loc"), list):
        return f"{_place(answer['loc'])}: {_words(answer.get('msg'), levels - 1)}"
    words = (_words(answer.get(key), levels - 1) for key in ("message", "msg", "detail", "error"))
    return next(filter(None, words), "")


def _place(parts: list[Any]) -> str:
    return ".".join(str(part) for part in parts if isinstance(part, str | int))
