"""docs/benchmarks.md says what was measured, and nothing else."""

from __future__ import annotations

from tests.benchmarks.page import generated


def test_tables_and_plots_are_those_of_the_figures() -> None:
    """`python -m tests.benchmarks.page` makes them anew."""
    assert [path.name for path, text in generated().items() if path.read_text(encoding="utf-8") != text] == []
