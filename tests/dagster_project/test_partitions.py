from __future__ import annotations

import re

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector import ConfigurationError
from dagster_project._partitions import collection_of, partition_key
from tests.dagster_project.conftest import Load
from tests.dagster_project.running import failure_of, materialize, recorded

HOSTILE = [
    "",
    ".",
    "...",
    "a...b",
    "a|b",
    "a,b",
    "line\nbreak",
    "50%",
    "%7C",
    "%",
    "%~",
    "~",
    "späti",
    "a b",
    "\ud800",
    "-x",
]


@pytest.mark.parametrize("collection", ["quickstart", "col_0a1b2c3d", "My.Collection-2", "66f0c1d2e3"])
def test_an_ordinary_id_is_its_own_partition_key(collection: str) -> None:
    assert partition_key(collection) == collection


@pytest.mark.parametrize("collection", HOSTILE)
def test_a_hostile_id_survives_the_way_there_and_back(collection: str) -> None:
    key = partition_key(collection)
    assert re.fullmatch(r"[A-Za-z0-9_.~%-]+", key)
    assert ".." not in key
    assert collection_of(key, list) == collection


@given(st.text(), st.text())
def test_ids_never_share_a_key(one: str, other: str) -> None:
    assert (partition_key(one) == partition_key(other)) == (one == other)
    assert collection_of(partition_key(one), lambda: [other, one]) == one


def test_a_very_long_id_is_found_among_the_sources_collections() -> None:
    long, twin = "x" * 5_000, "x" * 5_001
    assert len(partition_key(long)) <= 200
    assert collection_of(partition_key(long), lambda: [twin, long]) == long
    with pytest.raises(ConfigurationError, match="no collection of the source has the partition key"):
        collection_of(partition_key(long), lambda: [twin])


@pytest.mark.parametrize(("key", "right"), [("a|b", "a%7Cb"), ("a%7cb", "a%7Cb"), ("%71uickstart", "quickstart")])
def test_a_key_that_nobody_made_is_refused_with_the_right_one(key: str, right: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"use '{right}'")):
        collection_of(key, list)


def test_a_collection_of_the_file_needs_nobody_to_add_it(load: Load, instance: dg.DagsterInstance) -> None:
    defs = load({"collections": ["ads", "lectures"]})
    assert materialize(defs, instance, "ads").success
    assert instance.get_dynamic_partitions("media_collections") == ["ads"]
    assert set(recorded(instance, "media/video")) == {"ads"}


def test_another_collection_has_to_be_added_first(load: Load, instance: dg.DagsterInstance) -> None:
    defs = load()
    with pytest.raises(dg.DagsterUnknownPartitionError):
        materialize(defs, instance, "ads")
    instance.add_dynamic_partitions("media_collections", ["ads"])
    assert materialize(defs, instance, "ads").success


def test_a_partition_added_by_hand_in_the_wrong_spelling_fails_with_the_right_one(
    load: Load, instance: dg.DagsterInstance
) -> None:
    instance.add_dynamic_partitions("media_collections", ["my ads"])
    assert "use 'my%20ads'" in failure_of(materialize(load(), instance, "my ads"))
