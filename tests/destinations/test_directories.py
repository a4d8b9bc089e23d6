"""Where a relative `directory` begins: at the file that names it, whatever folder a command runs in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from tests.connector.cli.executable import EXECUTABLE
from tests.examples import family
from tests.forking import Forked, run_to_end
from vectorferry import ConfigurationError, SyncSettings, load_settings, parse_settings
from vectorferry.connector._config import resolve
from vectorferry.destinations import EmbeddedPostgres

DEFAULT = Path(".vectorferry/postgres")
SYNC = {"name": "media", "source": {"type": "sandbox", "collections": ["quickstart"]}}
PINECONE = {"type": "pinecone", "api_key": "k"}

Write = Callable[..., Path]


@pytest.fixture
def folders(passable_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Where the file is, and where the commands run."""
    file, here = passable_path / "file", passable_path / "here"
    file.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    return file, here


def written(file: Path, *destinations: Mapping[str, object], component: bool = False) -> Path:
    """A sync's file with these destinations."""
    sync = {**SYNC, "destinations": list(destinations)}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        yaml.safe_dump({"type": "vectorferry.dagster.VectorferrySync", "attributes": sync} if component else sync)
    )
    return file


def directories(settings: SyncSettings) -> list[Path | None]:
    """Those of the destinations, when the environment has been looked into."""
    return [each.data_directory for each in resolve(settings, {"KEY": "k"}).destinations]


@pytest.mark.parametrize(
    ("destinations", "expected"),
    [
        ([{"type": "pgvector"}], [DEFAULT]),
        ([{"type": "pgvector", "directory": "data"}], [Path("data")]),
        ([{"type": "pinecone", "api_key": "${KEY}"}], [DEFAULT]),
        ([{**PINECONE, "manifest": {"directory": "books"}}], [Path("books")]),
        ([{**PINECONE, "manifest": {"schema": "books"}}], [DEFAULT]),
        ([{"type": "pgvector", "directory": "data"}, PINECONE], [Path("data"), Path("data")]),
        ([{"type": "pgvector", "url": "postgresql://here/x"}, PINECONE], [None, None]),
    ],
)
def test_it_begins_at_the_file(
    folders: tuple[Path, Path], destinations: list[Mapping[str, object]], expected: list[Path | None]
) -> None:
    file, _ = folders
    settings = load_settings(written(file / "sync.yaml", *destinations))
    assert directories(settings) == [None if path is None else file / path for path in expected]


def test_a_path_from_the_root_or_from_home_stays(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    file, here = folders
    monkeypatch.setenv("HOME", str(here))
    named = [{"type": "pgvector", "directory": "/data"}, {"type": "pgvector", "name": "b", "directory": "~/data"}]
    assert directories(load_settings(written(file / "sync.yaml", *named))) == [Path("/data"), here / "data"]


def test_without_a_file_it_begins_where_the_process_is(folders: tuple[Path, Path]) -> None:  # noqa: ARG001
    assert directories(parse_settings({**SYNC, "destinations": [{"type": "pgvector"}]}, "test")) == [DEFAULT]


@pytest.mark.parametrize("mark", ["pyproject.toml", "dg.toml"])
def test_that_of_a_component_begins_at_its_project(folders: tuple[Path, Path], mark: str) -> None:
    file, _ = folders
    (file / mark).touch()
    path = written(file / "src" / "defs" / "media" / "defs.yaml", {"type": "pgvector"}, component=True)
    assert directories(load_settings(path)) == [file / DEFAULT]


def test_a_component_without_a_project_begins_where_the_process_is(folders: tuple[Path, Path]) -> None:
    file, here = folders
    assert directories(load_settings(written(file / "defs.yaml", {"type": "pgvector"}, component=True))) == [
        here / DEFAULT
    ]


@pytest.mark.long
def test_a_database_of_before_is_not_left_behind(folders: tuple[Path, Path]) -> None:
    file, here = folders
    path = written(
        file / "sync.yaml", {"type": "pgvector", "url": "postgresql://here/x"}, {"type": "pgvector", "name": "b"}
    )
    EmbeddedPostgres(here / DEFAULT).close()
    with pytest.raises(ConfigurationError) as refused:
        load_settings(path)
    said = str(refused.value)
    assert said.startswith(f"{path}: destinations[1].directory: {file / DEFAULT} is not there, but {here / DEFAULT} is")
    assert f"directory: {here / DEFAULT}" in said
    assert f"mkdir -p {file / DEFAULT}" in said
    assert refused.value.exit_code == 2
    assert len(said.splitlines()) <= 3


@pytest.mark.parametrize("way", family(["moved", "said", "made"]))
def test_each_way_out_of_it_works(folders: tuple[Path, Path], way: str) -> None:
    file, here = folders
    EmbeddedPostgres(here / DEFAULT).close()
    said = {"directory": str(here / DEFAULT)} if way == "said" else {}
    path = written(file / "sync.yaml", {"type": "pgvector", **said})
    if way == "made":
        (file / DEFAULT).mkdir(parents=True)
    elif way == "moved":
        (file / DEFAULT.parent).mkdir()
        (here / DEFAULT).rename(file / DEFAULT)
    (directory,) = directories(load_settings(path))
    assert directory == (here if way == "said" else file) / DEFAULT
    EmbeddedPostgres(directory).close()


def test_what_is_no_database_of_ours_is_none_of_before(folders: tuple[Path, Path]) -> None:
    file, here = folders
    (here / "data" / "data").mkdir(parents=True)
    (here / "data" / "data" / "PG_VERSION").touch()
    written(file / "sync.yaml", {"type": "pgvector", "directory": "data"})
    assert directories(load_settings(file / "sync.yaml")) == [file / "data"]


@pytest.mark.long
def test_two_folders_see_one_database(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    file, here = folders
    written(file / "vectorferry.yaml", {"type": "pgvector"})
    done = run_to_end([EXECUTABLE, "sync", "-q", "--json", "-c", str(file / "vectorferry.yaml")], how=Forked)
    assert json.loads(done.stdout)["exit_code"] == 0, done.stderr
    assert not (here / ".vectorferry").exists()
    monkeypatch.chdir(file)
    told = run_to_end([EXECUTABLE, "status", "--json"], how=Forked)
    assert json.loads(told.stdout)["destinations"][0]["assets"] == {"quickstart": 73}, told.stderr
