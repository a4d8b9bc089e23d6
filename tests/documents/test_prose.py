"""What every document keeps to: short rows, plain words, and links that lead somewhere."""

from __future__ import annotations

import re
import tomllib
from typing import Final

import pytest

from tests.documents.reading import DOCUMENTS, ROOT, read

PYPROJECT: Final = tomllib.loads(read("pyproject.toml"))
LONGEST_ROW: Final = 160
WORDS: Final = re.compile(r"\bin step\b|\bown books\b|\bheld\b", flags=re.IGNORECASE)
_LINK: Final = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")
_HEADING: Final = re.compile(r"^#{1,6} (.+)$", flags=re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_row_of_a_table_is_longer_than_a_line(document: str) -> None:
    rows = [line for line in read(document).splitlines() if line.startswith("|")]
    assert [row for row in rows if len(row) > LONGEST_ROW] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_word_is_used_that_only_we_understand(document: str) -> None:
    assert WORDS.findall(re.sub(r"`[^`\n]+`", "", read(document))) == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_to_a_file_and_a_heading(document: str) -> None:
    missing = []
    for path, anchor in _LINK.findall(_prose(document)):
        file = ((ROOT / document).parent / path).resolve() if path else ROOT / document
        if not file.exists() or (anchor and anchor not in _anchors(str(file.relative_to(ROOT)))):
            missing.append(f"{path}#{anchor}")
    assert missing == []


def _prose(document: str) -> str:
    return re.sub(r"^ *```.*?^ *```$", "", read(document), flags=re.MULTILINE | re.DOTALL)


def _anchors(document: str) -> set[str]:
    """Of the headings, as GitHub and the docs site make them, and those that are set by hand."""
    text = _prose(document)
    by_hand = set(re.findall(r'<a id="([^"]+)">', text))
    headings = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(text))
    return by_hand | {heading.strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("document", "heading", "tests", "least"),
    [
        ("docs/dagster.md", "Beside Dagster's own integrations", "tests/dagster_project", 19),
        ("docs/compare.md", "Asking in SQL, beside others", "tests/destinations/pgvector", 25),
    ],
)
def test_each_row_of_a_comparison_has_a_test_that_is_there(document: str, heading: str, tests: str, least: int) -> None:
    comparison = read(document).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in comparison.splitlines() if line.startswith("| ") and not line.startswith("| |")]
    proofs = re.findall(r"^- (.+?): `(test_\w+)::(test_\w+)`", comparison, re.MULTILINE)
    assert f"in `{tests}`" in comparison
    assert len(rows) >= least
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [feature for feature, _, _ in proofs]
    assert [row for row in rows if not row.endswith("| ✔ |")] == []
    for _, module, test in proofs:
        assert f"def {test}(" in (ROOT / tests / f"{module}.py").read_text(), test


def test_readme_leads_nowhere_where_there_is_no_repository_beside_it() -> None:
    """As a package index shows it, after the substitutions of pyproject.toml."""
    text = read("README.md")
    for each in PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text, count = re.subn(each["pattern"], each["replacement"], text)
        assert count > 0
    assert [target for target in re.findall(r"\]\(([^)]*)\)", text) if not target.startswith("https://")] == []
    assert "![" not in text
    assert "docs/tutorial.md" in text


def test_the_policy_is_of_this_version() -> None:
    assert f"Vectorferry is at {PYPROJECT['project']['version']}." in read("docs/policy.md")
