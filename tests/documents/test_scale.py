"""The table of docs/scale.md is what `plan --at` works out."""

from __future__ import annotations

from tests.documents.reading import read
from tests.documents.scale import PAGE, with_table


def test_the_table_is_as_the_settings_work_it_out_now() -> None:
    assert read(PAGE) == with_table(), "run `python -m tests.documents.scale`, and look at the difference"
