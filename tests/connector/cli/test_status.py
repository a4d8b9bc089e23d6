from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.connector.cli.conftest import Invoke
from tests.connector.cli.plugins import Box
from vectorferry.connector.plugin import (
    Capability,
    Destination,
    DestinationError,
    NotSupportedError,
    Status,
    TableStatus,
)

Configure = Callable[..., None]


def test_before_the_first_sync_there_is_nothing(vectorferry: Invoke, configured: Configure) -> None:
    configured()
    result = vectorferry("status")
    assert result.exit_code == 0
    assert "box: memory" in result.stdout
    assert "nothing synced yet; run `vectorferry sync`" in result.stdout


def test_tables_are_counted_by_collection(
    vectorferry: Invoke, configured: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured("assets: 3, spoilt: 1, collections: [films, clips]")
    vectorferry("sync")
    monkeypatch.delenv("SHELF_KEY")
    result = vectorferry("status")
    assert result.exit_code == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["assets", "clips", "2"] in lines
    assert ["films", "2"] in lines
    assert ["video", "clips", "2"] in lines
    assert "2 records in quarantine" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_an_index_is_named_once(vectorferry: Invoke, configured: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    details = {"storage": "dense(4)", "metric": "cosine", "index": "media-multimodal-v1-4"}
    index = TableStatus("media-multimodal-v1-4", None, "multimodal-v1", 2, {"films": 2}, details)
    monkeypatch.setattr(Box, "status", lambda _: Status("box", "memory", {"films": 2}, [index], 0))
    configured()
    lines = [" ".join(line.split()) for line in vectorferry("status").stdout.splitlines()]
    assert "media-multimodal-v1-4 films 2 dense(4), cosine" in lines


def test_tables_of_metadata_are_counted(
    vectorferry: Invoke, configured: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Status("box", "memory", {"films": 2}, [], 0, related={"people": 3})
    monkeypatch.setattr(Box, "status", lambda _: told)
    configured()
    assert ["people", "3"] in [line.split() for line in vectorferry("status").stdout.splitlines()]


def test_very_many_collections_are_added_up(vectorferry: Invoke, configured: Configure) -> None:
    configured(f"collections: [{', '.join(f'c{number}' for number in range(40))}]")
    vectorferry("sync")
    lines = [line.split() for line in vectorferry("status").stdout.splitlines()]
    assert ["assets", "all", "40", "80"] in lines


def test_json_is_one_object(vectorferry: Invoke, configured: Configure) -> None:
    configured()
    vectorferry("sync")
    told = json.loads(vectorferry("status", "--json").stdout)
    assert (told["sync"], told["exit_code"]) == ("media", 0)
    assert told["destinations"][0]["assets"] == {"films": 2}


def test_a_destination_that_cannot_be_reached_does_not_hide_the_others(
    vectorferry: Invoke, configured: Configure
) -> None:
    configured(box="reachable: false}, {type: box, name: other, url: x")
    result = vectorferry("status")
    assert result.exit_code == 1
    assert "vectorferry: box: the box of media cannot be reached" in result.stderr
    assert "other: memory" in result.stdout
    told = json.loads(vectorferry("status", "--json").stdout)
    assert [("error" in each, told["exit_code"]) for each in told["destinations"]] == [(True, 1), (False, 1)]


def test_each_destination_that_cannot_be_reached_is_named(vectorferry: Invoke, tmp_path: Path) -> None:
    nobody = "postgresql://nobody@127.0.0.1:1/nothing"
    stores = "".join(f"{{type: pgvector, name: {name}, url: '{nobody}'}}, " for name in ("first", "second"))
    (tmp_path / "two.yaml").write_text(f"name: media\nsource: {{type: sandbox}}\ndestinations: [{stores}]\n")
    result = vectorferry("status", "-c", str(tmp_path / "two.yaml"))
    assert result.exit_code == 1
    assert "vectorferry: first: cannot connect to Postgres" in result.stderr
    assert "vectorferry: second: cannot connect to Postgres" in result.stderr


def test_the_last_runs_are_shown_with_who_ran_them(vectorferry: Invoke, configured: Configure) -> None:
    configured("assets: 3, collections: [films, clips]")
    assert "box: no run is recorded" in vectorferry("status", "--runs").stdout
    run_id = json.loads(vectorferry("sync", "--json").stdout)["run_id"]
    result = vectorferry("status", "--runs")
    assert result.exit_code == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines() if run_id in line]
    assert [line[2:5] for line in lines] == [["films", "done", "cli"], ["clips", "done", "cli"]]
    assert [line[-1] for line in lines] == [run_id] * 2
    told = json.loads(vectorferry("status", "--runs", "--json").stdout)
    (box,) = told["destinations"]
    assert [(run["run_id"], run["collection"], run["state"]) for run in box["runs"]] == [
        (run_id, "films", "done"),
        (run_id, "clips", "done"),
    ]
    assert box["runs"][0]["counts"]["listed"] == 3


def test_a_destination_that_keeps_no_runs_is_said_to(
    vectorferry: Invoke, configured: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured()
    monkeypatch.setattr(Box, "capabilities", Box.capabilities - {Capability.RUNS})
    monkeypatch.setattr(Box, "runs", Destination.runs)
    result = vectorferry("status", "--runs")
    assert result.exit_code == NotSupportedError.exit_code
    assert "box: keeps no record of runs" in result.stderr


def samples(text: str) -> dict[tuple[str, ...], float]:
    """What Prometheus reads: values by metric and labels."""
    every = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    values = {(sample.name, *sample.labels.values()): sample.value for sample in every}
    assert len(values) == len(every), "Prometheus refuses a file in which something is said twice"
    return values


def test_prometheus_reads_it(vectorferry: Invoke, configured: Configure) -> None:
    configured("assets: 3, spoilt: 1, collections: [films, clips]")
    vectorferry("sync")
    result = vectorferry("status", "--prometheus")
    assert result.exit_code == 0, result.stderr
    read = samples(result.stdout)
    assert read["vectorferry_up", "media", "box"] == 1
    assert read["vectorferry_assets", "media", "box", "clips"] == 2
    assert read["vectorferry_rows", "media", "box", "video", "films"] == 2
    assert read["vectorferry_quarantined", "media", "box"] == 2


def test_whatever_things_are_called_prometheus_reads_it(
    vectorferry: Invoke, configured: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ['a "quoted"\\one', "two\nlines", "a  b", "a b", "escape\x1b[2J", "filmö"]
    status = Status("box", "memory", dict.fromkeys(names, 1), [], 0)
    monkeypatch.setattr(Box, "status", lambda _: status)
    configured()
    read = samples(vectorferry("status", "--prometheus").stdout)
    collections = [labels[3] for labels in read if labels[0] == "vectorferry_assets"]
    assert collections == sorted(name.replace("\x1b", "�") for name in names)


def test_a_textfile_is_there_as_a_whole_and_says_what_did_not_answer(
    vectorferry: Invoke, configured: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Box) -> Status:
        raise DestinationError("box: does not answer")

    configured()
    file = tmp_path / "vectorferry.prom"
    assert vectorferry("status", "--textfile", str(file)).exit_code == 0
    assert samples(file.read_text())["vectorferry_up", "media", "box"] == 1
    monkeypatch.setattr(Box, "status", refuse)
    result = vectorferry("status", "--textfile", str(file))
    assert result.exit_code == 1
    assert samples(file.read_text()) == {("vectorferry_up", "media", "box"): 0}
    assert list(tmp_path.glob("*.tmp")) == []
    assert file.stat().st_mode & 0o444 == 0o444, "node_exporter runs as another user"


@pytest.mark.parametrize("options", [["--json", "--prometheus"], ["--textfile", "status.txt"]])
def test_what_nobody_would_read_is_refused(vectorferry: Invoke, configured: Configure, options: list[str]) -> None:
    configured()
    assert vectorferry("status", *options).exit_code == 2
