"""``vectorferry map`` and ``vectorferry export``: whole files or none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.connector.cli.conftest import Invoke

Configure = Callable[..., None]


@pytest.mark.long
def test_a_page_is_written_whole_or_not_at_all(vectorferry: Invoke, configured: Configure, tmp_path: Path) -> None:
    configured("assets: 20, collections: [films, clips]")
    assert "no dense vector is stored" in vectorferry("map", "-o", str(tmp_path / "m.html")).stderr
    vectorferry("sync")
    result = vectorferry("map", "-o", str(tmp_path / "m.html"))
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "m.html").read_text().count("<circle") > 40
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []
    nowhere = vectorferry("map", "-o", str(tmp_path / "nowhere" / "m.html"))
    assert nowhere.exit_code == 1
    assert "cannot be written: No such file or directory" in nowhere.stderr


def test_a_parquet_file_has_ids_words_vectors_and_places(
    vectorferry: Invoke, configured: Configure, tmp_path: Path
) -> None:
    configured("assets: 20, collections: [films, clips]")
    vectorferry("sync")
    file = tmp_path / "vectors.parquet"
    result = vectorferry("export", "--parquet", str(file), "--xy")
    assert result.exit_code == 0, result.stderr
    table = pq.read_table(file)
    assert table.column_names == [
        *("id", "collection", "asset_id", "feature_id", "modality", "text", "vector", "x", "y")
    ]
    assert str(table.schema.field("vector").type) == "list<element: float>"
    rows = table.to_pylist()
    assert len(rows) == len({row["id"] for row in rows}) == 40
    assert {len(row["vector"]) for row in rows} == {len(rows[0]["vector"])}
    assert all(0 <= row["x"] <= 1 and 0 <= row["y"] <= 1 for row in rows)
    some = vectorferry("export", "--parquet", str(file), "--collection", "films")
    assert some.exit_code == 0, some.stderr
    assert pq.read_table(file).num_rows == 20
    assert "x" not in pq.read_table(file).column_names
    wrong = vectorferry("export", "--parquet", str(file), "--vector", "other")
    assert "holds no dense vector other there" in wrong.stderr
    assert pq.read_table(file).num_rows == 20  # as it was
