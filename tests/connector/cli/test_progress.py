from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from vectorferry.connector._engine import Progress
from vectorferry.connector.cli import _console as _progress


def test_a_collection_that_is_still_being_listed_has_no_total(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=StringIO(), force_terminal=True, width=80, highlight=False, color_system=None)
    monkeypatch.setattr(_progress, "for_people", lambda: terminal)
    with _progress.progress_shown() as show:
        assert show is not None
        show(Progress("films", listed=2, total=2, to_pull=0))
        show(Progress("clips", listed=7, to_pull=4))
    assert isinstance(terminal.file, StringIO)
    shown = [line for line in terminal.file.getvalue().splitlines() if "clips" in line]
    assert "3/?" in shown[-1]
