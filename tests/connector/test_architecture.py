"""Arrows point one way, and what is public is said to be."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("connector", "destinations", "dagster")
FORBIDDEN = {
    "connector": {"vectorferry.destinations", "vectorferry.dagster"},
    "destinations": {"vectorferry.dagster"},
}
LAYERS: dict[str, set[str]] = {"_model": set(), "_telemetry.py": {"_model"}}
LAYERS["_protocols"] = {"_model"}
LAYERS["_config"] = {*LAYERS["_protocols"], "_protocols"}
LAYERS["_reports"] = {*LAYERS["_config"], "_config"}
LAYERS["_engine"] = {*LAYERS["_reports"], "_reports", "_cancellation", "_iterators", "_telemetry"}
LAYERS["cli"] = {*LAYERS["_engine"], "_engine", "sandbox"}
LAYERS["http"] = {"_model", "_protocols", "_telemetry"}
LAYERS["sandbox"] = {"_model"}
LAYERS["sources"] = {"_model", "_protocols", "_config", "_iterators", "http", "sandbox"}
LAYERS["plugin.py"] = {"_model", "_protocols", "_config", "_reports", "_cancellation"}
"""What each part of the engine may import of the others. A destination gets by with `plugin`: no engine, no source."""
BARE = {"connector", "destinations", "dagster_project"}
"""The folders in a checkout. Imported by these names a module would be a second one, and an installed user's own."""
SUSPECT = re.compile(rf"^\s*(?:import|from)\b.*(?<![\w.])(?:{'|'.join(sorted(BARE))})\b", re.MULTILINE)
ENTRY_FILES = {"__init__", "__main__", "definitions", "plugin", "testing"}


NOT_NAMES = {
    "asked": 2,
    "called": 0,
    "chosen": 0,
    "found": 2,
    "given": 0,
    "held": 0,
    "kept": 2,
    "known": 22,
    "left": 2,
    "made": 0,
    "one": 14,
    "ours": 1,
    "said": 0,
    "seen": 2,
    "taken": 1,
    "there": 0,
    "thing": 0,
    "told": 0,
    "wanted": 0,
    "what": 3,
}
"""Participles and pronouns, which say of nothing what it is, and how many modules, classes, functions and parameters
are called so all the same. The numbers only ever become smaller."""


def modules(package: str) -> list[Path]:
    folder = (ROOT / "vectorferry" / package).resolve()
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


@cache
def telling_nodes(path: Path) -> list[ast.AST]:
    """Every import, definition and parameter in a file, wherever it stands. Going through all files takes a second."""
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.arg)
    nodes: list[ast.AST] = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]
    for node in nodes:
        if hasattr(node, "body"):
            node.body = []  # what stands in it is in the list itself
    return nodes


@cache
def imported(path: Path) -> list[str]:
    """Every absolute import in a file, wherever it stands: as it is, and down to its second and its first name."""
    found: list[str] = []
    for node in telling_nodes(path):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            found += {".".join(parts[:depth]) for depth in (1, 2, len(parts))}
    return found


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def exported(path: Path) -> list[str] | None:
    """The names in a file's ``__all__``, in its order."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return None


def order(name: str) -> tuple[int, str]:
    """Constants, classes, functions; the linter's order."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def bound(path: Path) -> set[str]:
    """Public names of ours that a package's ``__init__`` brings in or defines, be it lazily."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("vectorferry")):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_arrows_point_one_way(package: str) -> None:
    wrong = {shown(path): found for path in modules(package) if (found := FORBIDDEN[package] & set(imported(path)))}
    assert wrong == {}


@pytest.mark.parametrize("part", LAYERS)
def test_the_engine_is_built_in_layers(part: str) -> None:
    files = [path for path in modules("connector") if path.relative_to(ROOT / "connector").parts[0] == part]
    others = {each.name.removesuffix(".py") for each in (ROOT / "connector").iterdir()} - {part.removesuffix(".py")}
    wrong = {}
    for path in files:
        names = (name.split(".") for name in imported(path) if name.startswith("vectorferry.connector."))
        if found := {name[2] for name in names} & others - LAYERS[part]:
            wrong[shown(path)] = found
    assert files
    assert wrong == {}


def test_nothing_is_imported_by_the_bare_name_of_its_folder() -> None:
    every = (path for folder in (*BARE, "tests") for path in (ROOT / folder).rglob("*.py"))
    files = (path for path in every if SUSPECT.search(path.read_text()))  # to parse all of them takes seconds
    assert {shown(path): found for path in files if (found := BARE & set(imported(path)))} == {}


def test_every_entry_point_is_below_the_one_import_name() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["scripts"], *project["entry-points"].values()]
    assert [value for group in groups for value in group.values() if not value.startswith("vectorferry.")] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_what_is_public_in_order(package: str) -> None:
    inits = (path for path in modules(package) if path.name in {"__init__.py", "plugin.py"})
    for path in (*inits, ROOT / "vectorferry" / "__init__.py"):
        public = exported(path) or []
        assert public == sorted(public, key=order), shown(path)
        assert bound(path) <= set(public), shown(path)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_other_module_is_private(package: str) -> None:
    files = (path for path in modules(package) if path.stem not in ENTRY_FILES)
    assert [shown(path) for path in files if not path.name.startswith("_")] == []


def names(path: Path) -> Iterator[str]:
    """What a module, its classes, functions and their parameters are called, without the underscores before it."""
    yield path.stem.strip("_")
    for node in telling_nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name.strip("_")
        elif isinstance(node, ast.arg):
            yield node.arg.strip("_")


def test_names_are_nouns() -> None:
    counts = Counter(name for package in PACKAGES for path in modules(package) for name in names(path))
    assert {name: counts[name] for name, most in NOT_NAMES.items() if counts[name] > most} == {}


def test_the_walk_finds_names_wherever_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "_held.py"
    file.write_text("class A:\n    def _found(self, *, one, **what): ...\nasync def f(told=lambda said: 0): ...\n")
    assert list(names(file)) == ["held", "A", "f", "found", "told", "self", "one", "what", "said"]


def test_the_walk_finds_imports_wherever_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("import a.b\ndef f():\n    from c.d import e\n    from . import near\n")
    assert set(imported(file)) == {"a", "a.b", "c", "c.d", "c.d.e"}
