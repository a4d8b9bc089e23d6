from __future__ import annotations

import warnings
from pathlib import Path

import dagster as dg
import pytest
import yaml

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # importing typer 0.25 touches names that click 8.5 retires
    from click.testing import Result
    from typer.testing import CliRunner

from tests.dagster_project.conftest import Load
from vectorferry.dagster._command import app


def discover(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["discover", *arguments])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty DAGSTER_HOME."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Load) -> Path:  # noqa: ARG001
    """A Dagster project of somebody else's, with two syncs in one file; it is the current folder."""
    folder, package = tmp_path / "project", f"acme_{tmp_path.name}"
    (folder / package / "defs" / "all").mkdir(parents=True)
    (folder / package / "__init__.py").touch()
    (folder / package / "defs" / "__init__.py").touch()
    (folder / "pyproject.toml").write_text(
        f'[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "{package}"\n'
    )
    write(folder / package / "defs" / "all" / "defs.yaml", sync("media"), sync("named", collections=["x|y"]))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    return folder


def sync(name: str, **source: object) -> dict[str, object]:
    return {"name": name, "source": {"type": "shelf", **source}, "destinations": [{"type": "box"}]}


def write(path: Path, *syncs: dict[str, object]) -> None:
    kind = "vectorferry.dagster.VectorferrySync"
    path.write_text(yaml.safe_dump_all([{"type": kind, "attributes": each} for each in syncs]))


@pytest.mark.usefixtures("home", "project")
def test_every_collection_becomes_a_partition_and_is_printed() -> None:
    result = discover()
    assert result.stdout.splitlines() == [
        "media\tads\tadded",
        "media\tlectures\tadded",
        "media\tnews\tadded",
        "named\tx%7Cy\tadded",
    ]
    with dg.DagsterInstance.get() as instance:
        assert instance.get_dynamic_partitions("media_collections") == ["ads", "lectures", "news"]
        assert instance.get_dynamic_partitions("named_collections") == ["x%7Cy"]
    assert discover("--sync", "named").stdout == "named\tx%7Cy\tknown\n"


@pytest.mark.usefixtures("home", "project")
def test_a_sync_that_is_not_there_is_said_so() -> None:
    result = discover("--sync", "nope")
    assert (result.exit_code, result.stderr) == (2, "no such sync in this project (it has: media, named)\n")


@pytest.mark.usefixtures("project")
def test_without_a_dagster_home_there_is_nothing_to_add_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    result = discover()
    assert result.exit_code == 2
    assert "DAGSTER_HOME is not set" in result.stderr


@pytest.mark.usefixtures("home")
def test_a_mistake_in_the_file_is_told_without_a_traceback(project: Path) -> None:
    (path,) = project.glob("*/defs/all/defs.yaml")
    write(path, sync("media", colour="red"))
    result = discover()
    assert result.exit_code == 2
    assert result.stderr.endswith("defs.yaml: source.colour: unknown key\n")


@pytest.mark.usefixtures("home")
def test_outside_of_a_project_it_means_vectorferry_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert discover().stdout == "media\tquickstart\tadded\n"
