"""Every error message that the code can raise, as a pattern, and the list of them in docs/troubleshooting.md.

    python -m tests.documents.messages        writes the list anew

Patterns are taken from the places that raise: `…` stands for what is filled in. What a place only passes on comes from
another one.
"""

from __future__ import annotations

import ast
import html
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Final

from tests.documents.reading import ROOT, read
from vectorferry.connector._config._problems import MESSAGES
from vectorferry.connector._model import _errors
from vectorferry.destinations._postgres._errors import _CONNECTION_FIXES, _FIXES

__all__ = ["GROUPS", "GUIDE", "Message", "anchors", "messages", "unread_places", "with_lists"]

GUIDE: Final = "docs/troubleshooting.md"
_PACKAGES: Final = ("connector", "destinations", "dagster_project")
_ERRORS: Final = {
    name for name, value in vars(_errors).items() if isinstance(value, type) and issubclass(value, Exception)
}
_USAGE: Final = {"UsageError", "BadParameter"}
_PROBLEMS: Final = {"connector/_config/_resolve.py": "append"}
"""Where problems are gathered, of which one error is made at the end."""
_SETTINGS: Final = re.compile(
    r"connector/(http/_settings|_model/_(mapping|settings_base))\.py|destinations/p\w+/_(settings|metadata|ids)\.py"
)
"""Whose ValueErrors pydantic reports with file and key."""

_OF_SERVICES: Final = re.compile(r"connector/sandbox/_\w+/")
"""Where the sandbox answers as a service does: that is no message of ours."""
_DEEPEST: Final = 6
"""How far a message is followed through names and calls."""

GROUPS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "usage": lambda name, _file: name in _USAGE,
    "quarantine": lambda name, _file: name == "QuarantineError",
    "limit": lambda name, _file: name == "LimitReachedError",
    "guard": lambda name, _file: name == "GuardRefusedError",
    "locked": lambda name, _file: name in ("LockedError", "LockLostError"),
    "key": lambda name, _file: name == "CredentialsError",
    "listing": lambda name, _file: name == "IncompleteScanError",
    "dagster": lambda _name, file: file.startswith("dagster_project/"),
    "embedded": lambda _name, file: file.startswith("destinations/_embedded/"),
    "pinecone": lambda _name, file: file.startswith("destinations/pinecone/"),
    "postgres": lambda _name, file: file.startswith("destinations/"),
    "file": lambda name, _file: name in ("ConfigurationError", "NotSupportedError", "ValueError", "append"),
    "source": lambda _name, file: file.startswith(("connector/sources/", "connector/http/")),
    "other": lambda _name, _file: True,
}
"""A section of the guide each. A message belongs to the first that takes its error's name and its file."""


@dataclass(frozen=True, slots=True, order=True)
class Message:
    """A pattern, and the group that says what to do."""

    group: str
    pattern: str


@cache
def messages() -> list[Message]:
    """All of them, sorted."""
    patterns = {Message(place.group, pattern) for place in _places() for pattern in place.patterns()}
    patterns |= {Message("postgres", text) for text in [*_FIXES.values(), *_CONNECTION_FIXES.values()]}
    return sorted(
        patterns | {Message("file", text) for text in [*map(_filled, MESSAGES.values()), *_of_unknown_keys()]}
    )


def _filled(text: str) -> str:
    return re.sub(r"\{\w+\}", "…", text)


def anchors(listed: Sequence[Message]) -> dict[Message, str]:
    """The first words of each, for a link; a number follows where another one begins with the same words."""
    numbers: Counter[str] = Counter()
    names = {}
    for message in listed:
        words = re.findall(r"[a-z0-9]+", re.sub(r"['’]", "", message.pattern.lower()))
        name = f"m-{'-'.join(words[:9])}"
        numbers[name] += 1
        names[message] = name if numbers[name] == 1 else f"{name}-{numbers[name]}"
    return names


def unread_places() -> list[str]:
    """Where an error is made of which no pattern can be told: it must come from a place that makes another one."""
    return sorted({place.where for place in _places() if not place.patterns()})


def with_lists(guide: str) -> str:
    """The guide with the list of each group between its two comments."""
    names = anchors(messages())
    for group in GROUPS:
        lines = "".join(
            f'- <a id="{name}"></a>{_code(message.pattern)}\n'
            for message, name in names.items()
            if message.group == group
        )
        marks = re.compile(rf"(<!-- messages: {group} -->\n).*?(<!-- end -->)", flags=re.DOTALL)
        if not marks.search(guide):
            raise ValueError(f"{GUIDE}: no place for the messages of the group {group}")
        guide = marks.sub(lambda match, lines=lines: match[1] + lines + match[2], guide)  # type: ignore[misc]
    return guide


def _code(pattern: str) -> str:
    shown = html.escape(" ".join(pattern.split()), quote=False)
    return f"<code>{re.sub(r'[*_`]', lambda match: f'&#{ord(match[0])};', shown)}</code>"


@dataclass(frozen=True, slots=True)
class _Place:
    """A call that makes an error."""

    file: str
    name: str
    call: ast.Call
    function: ast.AST
    module: ast.Module

    @property
    def where(self) -> str:
        return f"{self.file}: {getattr(self.function, 'name', 'module')}"

    @property
    def message(self) -> ast.expr:
        match self.call.args:
            case [ast.Tuple(elts=[_, text])]:  # `problems.append((path, text))`
                return text
            case [_, detail, *_] if self.name == "QuarantineError":
                return detail
            case [text, *_]:
                return text
        raise AssertionError

    @property
    def group(self) -> str:
        return next(group for group, takes in GROUPS.items() if takes(self.name, self.file))

    def patterns(self) -> list[str]:
        """With at least two words: what has fewer is a part of something else."""
        told = {text.strip() for text in _texts(self.message, self.function, self.module, depth=0)}
        return sorted(text for text in told if len(re.findall(r"\w{2,}", text)) > 1)


@cache
def _places() -> tuple[_Place, ...]:
    return tuple(_found())


def _found() -> Iterator[_Place]:
    files = (str(path.relative_to(ROOT)) for package in _PACKAGES for path in (ROOT / package).rglob("*.py"))
    for file in sorted(file for file in files if not _OF_SERVICES.match(file)):
        module = ast.parse(read(file))
        for function, call in _all_calls(module):
            name = _name(call.func)
            if call.args and name in _ERRORS | _USAGE | _reported_besides(file):
                yield _Place(file, name, call, function, module)


def _reported_besides(file: str) -> set[str]:
    """Calls that make a message without an error of ours: pydantic or `joined` puts file and key before it."""
    return {"ValueError"} if _SETTINGS.fullmatch(file) else {_PROBLEMS[file]} if file in _PROBLEMS else set()


def _of_unknown_keys() -> list[str]:
    """What is said of a key instead of what pydantic says."""
    module = ast.parse((ROOT / "connector/_config/_problems.py").read_text(encoding="utf-8"))
    made = [(value, function) for function in _functions(module, "_text") for value in _returned(function)]
    return [text for value, function in made for text in _texts(value, function, module, depth=0) if " " in text]


@cache
def _all_calls(module: ast.Module) -> list[tuple[ast.AST, ast.Call]]:
    return list(_calls(module, module))


def _calls(node: ast.AST, function: ast.AST) -> Iterator[tuple[ast.AST, ast.Call]]:
    for child in ast.iter_child_nodes(node):
        inner = child if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
        if isinstance(child, ast.Call):
            yield inner, child
        yield from _calls(child, inner)


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def _texts(node: ast.expr | None, function: ast.AST, module: ast.Module, depth: int) -> list[str]:
    """What an expression can be, as patterns. Nothing when that cannot be told."""

    def texts(inner: ast.expr | None, of: ast.AST = function) -> list[str]:
        return _texts(inner, of, module, depth + 1)

    told: list[str] = []
    match node if depth <= _DEEPEST else None:
        case ast.Constant(value=str(text)):
            told = [text]
        case ast.JoinedStr(values=parts):
            told = ["".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts)]
        case ast.IfExp(body=body, orelse=other):
            told = texts(body) + texts(other)
        case ast.BoolOp(values=values):
            told = [text for value in values for text in texts(value)]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            told = [a + b for a, b in product(texts(left) or ["…"], texts(right) or ["…"])]
        case ast.Call(func=ast.Attribute(value=text, attr="format")):
            told = [re.sub(r"\{[^}]*\}", "…", each) for each in texts(text)]
        case ast.Call(func=called):
            told = [
                text
                for one in _functions(module, _name(called))
                for value in _returned(one)
                for text in texts(value, one)
            ]
        case ast.Name(id=name):
            given = _assigned(function, name) or _assigned(module, name)
            told = [text for value in given for text in texts(value)]
            told = told or [text for place, value in _passed(function, name, module) for text in texts(value, place)]
        case ast.Subscript(value=ast.Name(id=name)):
            tables = [value for value in _assigned(module, name) if isinstance(value, ast.Dict)]
            told = [text for table in tables for value in table.values for text in texts(value)]
    return told


def _passed(function: ast.AST, parameter: str, module: ast.Module) -> Iterator[tuple[ast.AST, ast.expr]]:
    """What calls in the same module give for a parameter of a function, with the functions that call."""
    if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    names = [argument.arg for argument in function.args.args if argument.arg not in ("self", "cls")]
    for place, call in _all_calls(module):
        if parameter in names and _name(call.func) == function.name:
            named = [keyword.value for keyword in call.keywords if keyword.arg == parameter]
            yield from ((place, value) for value in named or call.args[names.index(parameter) :][:1])


@cache
def _functions(module: ast.Module, name: str) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef) and node.name == name]


def _returned(function: ast.FunctionDef) -> Iterator[ast.expr | None]:
    return (node.value for node in ast.walk(function) if isinstance(node, ast.Return))


def _assigned(function: ast.AST, name: str) -> list[ast.expr]:
    return [value for target, value in _assignments(function) if target == name]


@cache
def _assignments(function: ast.AST) -> list[tuple[str, ast.expr]]:
    made = []
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value):
                made.append((target, value))
            case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value):
                made.append((target, value))
            case ast.NamedExpr(target=ast.Name(id=target), value=value):
                made.append((target, value))
    return made


if __name__ == "__main__":
    (ROOT / GUIDE).write_text(with_lists(read(GUIDE)), encoding="utf-8")
