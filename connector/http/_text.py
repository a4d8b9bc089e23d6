"""Text from a service made fit for a message: its own words found, short, on one line, without the key."""

from __future__ import annotations

from typing import Any, Final

from connector._json import parse_json

__all__ = ["one_line", "server_message", "without_key"]

LONGEST: Final = 300


def one_line(text: str, longest: int = LONGEST) -> str:
    """Printable characters on one line, cut to a readable length."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * longest]).split())
    return line if len(line) <= longest else f"{line[:longest]}…"


def without_key(text: str, key: str) -> str:
    """The text with the key blotted out: services do echo keys."""
    return text.replace(key, "***") if key else text


def server_message(body: bytes) -> str:
    """What the service says went wrong, in its own words; empty when it does not say.

    Mixpeek has sent three shapes (``error.message``, ``detail[].msg``, ``message``) and FastAPI's 422 a fourth.
    """
    try:
        answer = parse_json(body)
    except ValueError:
        return _plain(body)
    return one_line(_words(answer))


def _plain(body: bytes) -> str:
    text = body[: 8 * LONGEST].decode("utf-8", "replace").strip()
    return "" if text.startswith("<") else one_line(text)


def _words(answer: Any) -> str:
    if isinstance(answer, str):
        return answer
    if isinstance(answer, list):
        return "; ".join(filter(None, map(_words, answer[:5])))
    if not isinstance(answer, dict):
        return ""
    if isinstance(answer.get("loc"), list):
        return f"{'.'.join(str(part) for part in answer['loc'])}: {_words(answer.get('msg'))}"
    return next(filter(None, (_words(answer.get(key)) for key in ("message", "msg", "detail", "error"))), "")
