"""The source against the engine, with a destination in memory: no service, no database."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vectorferry_jsonl import JsonLinesSource

from vectorferry import ConfigurationError, Modality, Summary
from vectorferry.connector import testing

Store = testing.MemoryDestination


def sync(folder: Path, store: Store, *collections: str) -> Summary:
    return asyncio.run(testing.sync(JsonLinesSource(folder, collections), [store], name="pets"))


def written(summary: Summary) -> tuple[int, int, int]:
    assets = summary.destinations["memory"].applied.assets
    return assets.inserted, assets.updated, assets.deleted


def pet(asset_id: str, description: str = "asleep", **more: Any) -> dict[str, Any]:
    vectors = {"clip": [0.5, float(len(description))]}
    return {"id": asset_id, "modality": "image", "description": description, "vectors": vectors} | more


def write(folder: Path, *pets: dict[str, Any]) -> None:
    (folder / "pets.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in pets))


SIX = [pet(f"cat-{number}") for number in range(6)]


def test_a_second_sync_writes_nothing(tmp_path: Path) -> None:
    write(tmp_path, *SIX)
    store = Store()
    assert written(sync(tmp_path, store)) == (6, 0, 0)
    assert written(sync(tmp_path, store)) == (0, 0, 0)


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    store = Store()
    write(tmp_path, *SIX)
    sync(tmp_path, store)
    write(tmp_path, pet("cat-0", "awake"), *SIX[1:5], pet("dog"))
    summary = sync(tmp_path, store)
    assert written(summary) == (1, 0, 1), "the dog, and the last cat; what is new of the first is its feature's"
    assert summary.destinations["memory"].applied.features[Modality.IMAGE].updated == 1
    (feature,) = store.assets["pets"]["cat-0"].features
    assert feature.columns["description"] == "awake"
    clip = feature.vectors["clip"]
    assert isinstance(clip, np.ndarray)
    assert clip.tolist() == [0.5, 5.0]


def test_a_broken_line_deletes_nothing(tmp_path: Path) -> None:
    store = Store()
    write(tmp_path, *SIX)
    sync(tmp_path, store)
    with (tmp_path / "pets.jsonl").open("w") as file:
        file.write("".join(f"{json.dumps(each)}\n" for each in SIX[:5]) + '{"id": "cat-')
    summary = sync(tmp_path, store)
    assert (summary.exit_code, written(summary)) == (1, (0, 0, 0))
    assert "line 6" in str(summary.collections["pets"].error)
    assert len(store.assets["pets"]) == 6


def test_a_bad_vector_is_set_aside_alone(tmp_path: Path) -> None:
    store = Store()
    write(tmp_path, pet("cat", vectors={"clip": [1.0, 2.0], "other": ["one"]}))
    summary = sync(tmp_path, store)
    assert (summary.exit_code, written(summary)) == (3, (1, 0, 0))
    (feature,) = store.assets["pets"]["cat"].features
    assert list(feature.vectors) == ["clip"]


def test_a_collection_that_is_not_there_is_named(tmp_path: Path) -> None:
    write(tmp_path, *SIX)
    with pytest.raises(ConfigurationError, match=r"has no pests\.jsonl"):
        sync(tmp_path, Store(), "pests")
    assert sync(tmp_path, Store(), "pests", "pets").exit_code == 1


def test_another_folder_deletes_nothing(tmp_path: Path) -> None:
    store = Store()
    for name, pets in (("old", SIX), ("new", SIX[:5])):
        (tmp_path / name).mkdir()
        write(tmp_path / name, *pets)
    sync(tmp_path / "old", store)
    summary = sync(tmp_path / "new", store)
    assert (summary.exit_code, written(summary)) == (4, (0, 0, 0))
