"""`vectorferry vectors`: what is listed, and that only what was named is dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.builders import asset, batch, dense, feature
from tests.connector.cli.conftest import Invoke
from vectorferry.connector.plugin import SchemaMapping
from vectorferry.destinations import PgvectorDestination


@pytest.fixture
def switched(postgres_url: str, schema: str) -> Iterator[PgvectorDestination]:
    """A named vector of 8 dimensions before and 3 now, and the file that says where it is; no source's key is set."""
    Path("vectorferry.yaml").write_text(
        'name: media\nsource: {type: shelf, api_key: "${NO_SUCH_KEY}"}\n'
        f'destinations: [{{type: pgvector, url: "{postgres_url}", schema: {schema}}}]\n'
    )
    with closing(PgvectorDestination(schema, postgres_url)) as destination:
        destination.prepare(SchemaMapping())
        for dimension in (8, 3):
            destination.apply(batch(asset("a", feature("f", {"model-v1": dense(dimension=dimension)}))))
            destination.build_indexes()
        yield destination


@pytest.mark.usefixtures("switched")
def test_the_list_shows_both(vectorferry: Invoke) -> None:
    result = vectorferry("vectors", "list")
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[lines.index("video__model_v1 vector(8) 0 1 retired") + 1] == "video model-v1"
    assert lines[lines.index("video__model_v1_3 vector(3) 1 0 current") + 1] == "video model-v1"
    (told,) = json.loads(vectorferry("vectors", "list", "--json").stdout)["destinations"]
    assert [(table["table"], table["view"]) for table in told["tables"]] == [
        ("video__model_v1", "video_model_v1_8"),
        ("video__model_v1_3", "video_model_v1"),
    ]


@pytest.mark.long
def test_drop_drops_what_is_retired(vectorferry: Invoke, switched: PgvectorDestination) -> None:
    assert vectorferry("vectors", "drop").exit_code == 2
    assert vectorferry("vectors", "drop", "video__model_v1", "--retired").exit_code == 2
    refused = vectorferry("vectors", "drop", "video__model_v1_3")
    assert refused.exit_code == 2
    assert "video__model_v1_3 is what the view shows" in refused.stderr
    told = json.loads(vectorferry("vectors", "drop", "--retired", "--json").stdout)
    assert [table["table"] for table in told["dropped"]["pgvector"]] == ["video__model_v1"]
    assert [table.table for table in switched.vector_tables()] == ["video__model_v1_3"]
    assert "pgvector: nothing dropped" in vectorferry("vectors", "drop", "--retired").stdout


def test_a_destination_without_such_tables_says_so(vectorferry: Invoke, configured: object) -> None:
    assert callable(configured)
    configured()
    result = vectorferry("vectors", "list")
    assert result.exit_code == 2
    assert "keeps no table for each dimension of a vector" in result.stderr
