"""Pages of the docs site that are no files in docs/: what stands beside it, and the reference from docstrings.

A hook of mkdocs (see mkdocs.yml). A link from one to the other works on the site as it does in the repository.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import vectorferry
from vectorferry.connector import plugin, testing

ROOT: Final = Path(__file__).parents[1]
BESIDE: Final = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "THIRD-PARTY.md": "third-party.md",
}
API: Final = """# API

What `from vectorferry import …` gives. [From Python](python.md) shows it in use; `vectorferry.aio` has the calls to be
awaited.
"""
PLUGIN: Final = """# For authors

What `vectorferry.connector.plugin` has for those who [write a source](write-a-source.md) or a destination, and
`vectorferry.connector.testing` for their tests.
"""
LINK: Final = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    made = {page: _site_links((ROOT / name).read_text(encoding="utf-8"), ROOT) for name, page in BESIDE.items()}
    shown: set[str] = set()
    made["api.md"] = API + _reference(vectorferry, shown)
    made["plugin.md"] = PLUGIN + _reference(plugin, shown) + _reference(testing, shown)
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Turn links to what is beside docs/ into links to its page here."""
    return markdown if page.file.src_uri in BESIDE.values() else _site_links(markdown, ROOT / "docs")


def _site_links(markdown: str, folder: Path) -> str:
    def link(match: re.Match[str]) -> str:
        image, text, path, anchor = match[1], match[2], match[3], match[4] or ""
        target = (folder / path).resolve()
        if str(target.relative_to(ROOT)) in BESIDE:
            return f"[{text}]({BESIDE[str(target.relative_to(ROOT))]}{anchor})"
        if target.is_relative_to(ROOT / "docs") and target.suffix in (".md", ".svg", ".png"):
            return f"{image}[{text}]({target.relative_to(ROOT / 'docs')}{anchor})"
        return text  # a file of the repository that is no page

    return LINK.sub(link, markdown)


def _reference(module: ModuleType, shown: set[str]) -> str:
    """A section for each function, class and error, in this order, that no page before has `shown`."""
    things = {name: getattr(module, name) for name in sorted(module.__all__, key=lambda name: _kind(module, name))}
    ours = {name: _path(thing) for name, thing in things.items() if _path(thing).startswith("vectorferry.")}
    new = {name: path for name, path in ours.items() if path not in shown}
    shown.update(new.values())
    return "".join(f"\n::: {path}\n    options: {{heading: {name}, heading_level: 2}}\n" for name, path in new.items())


def _kind(module: ModuleType, name: str) -> tuple[bool, bool]:
    thing = getattr(module, name)
    return isinstance(thing, type) and issubclass(thing, Exception), isinstance(thing, type)


def _path(thing: object) -> str:
    """Where a class or a function is defined; empty for anything else."""
    return f"{thing.__module__}.{thing.__qualname__}" if hasattr(thing, "__qualname__") else ""
