"""The embedded Postgres starts wherever it is asked to, and says why when it cannot."""

from __future__ import annotations

import shutil
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text

from vectorferry.connector.plugin import DestinationError
from vectorferry.destinations import EmbeddedPostgres

from ..examples import family
from ..urls import for_sqlalchemy
from .embedded_processes import OPEN, answers, held_elsewhere, moved, run_python, servers


def test_it_runs_while_open_and_keeps_its_data(passable_path: Path) -> None:
    directory = passable_path / "made on demand" / "data"
    with EmbeddedPostgres(directory) as server, psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
    assert servers(directory) == []
    with EmbeddedPostgres(directory) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)
    assert servers(directory) == []


@pytest.mark.parametrize(
    "name",
    family(
        ["é it's $(touch executed) `touch executed` %41 ?a=b&c#,d", "x" * 120, "ü" * 50, '"; touch executed; "'],
    ),
    ids=["odd", "long", "bytes", "quotes"],
)
def test_any_path_will_do(made_directory: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made_directory.parent)
    with moved(made_directory, name) as directory, EmbeddedPostgres(directory) as server:
        engine = create_engine(for_sqlalchemy(server.url))
        with engine.connect() as connection:
            assert connection.execute(text("SELECT 1")).scalar() == 1
        engine.dispose()
        assert answers(server.url)
    assert list(made_directory.parent.rglob("executed")) == []


@pytest.mark.long
def test_data_can_be_made_under_an_odd_path(passable_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(passable_path)
    with EmbeddedPostgres(passable_path / ("ü" * 50) / 'it\'s $(touch executed), "here"') as server:
        assert answers(server.url)
    assert list(passable_path.rglob("executed")) == []


@pytest.mark.long
def test_neither_the_locale_nor_a_temporary_directory_with_a_space_gets_in_the_way(passable_path: Path) -> None:
    (spaced := passable_path / "with space").mkdir()
    done = run_python(
        OPEN, passable_path / ("x" * 90), env={"LC_ALL": "xx_YY.UTF-8", "LANG": "xx_YY", "TMPDIR": str(spaced)}
    )
    assert (done.stdout, done.stderr) == ("answered\n", "")
    assert list(spaced.iterdir()) == []


@pytest.mark.long
def test_a_port_in_the_environment_changes_nothing(made_directory: Path) -> None:
    with held_elsewhere(made_directory, env={"PGPORT": "6543"}):
        assert run_python(OPEN, made_directory, env={"PGPORT": "7654"}).stdout == "answered\n"


def test_keys_of_ours_do_not_reach_the_server(made_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY_OF_OURS", "secret")
    with EmbeddedPostgres(made_directory) as server, psycopg.connect(server.url) as connection:
        connection.execute("CREATE TEMP TABLE seen (line text); COPY seen FROM PROGRAM 'env'")
        lines = [line for (line,) in connection.execute("SELECT line FROM seen")]
    assert "LC_CTYPE=C" in lines
    assert not any("secret" in line for line in lines)


def test_a_directory_with_other_files_is_left_alone(passable_path: Path) -> None:
    (passable_path / "mine.txt").touch()
    before = passable_path.stat()
    with pytest.raises(DestinationError, match="holds other files"):
        EmbeddedPostgres(passable_path)
    after = passable_path.stat()
    assert [path.name for path in passable_path.iterdir()] == ["mine.txt"]
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)


def test_data_without_its_lock_files_is_still_known(made_directory: Path) -> None:
    for lock in made_directory.glob("*.lock"):
        lock.unlink()
    with EmbeddedPostgres(made_directory) as server:
        assert answers(server.url)


@pytest.mark.long
def test_what_a_kill_while_making_the_data_left_is_made_again(passable_path: Path) -> None:
    directory = passable_path / "data"
    EmbeddedPostgres(directory).close()
    (directory / "data").rename(directory / "data.new")
    shutil.rmtree(directory / "data.new" / "global")
    with EmbeddedPostgres(directory) as server:
        assert answers(server.url)
    assert not (directory / "data.new").exists()


def test_what_went_wrong_is_said_with_the_place_to_look(passable_path: Path) -> None:
    (passable_path / "file").touch()
    with pytest.raises(DestinationError, match=r"(?s)did not start: .*Not a directory.* set `url`"):
        EmbeddedPostgres(passable_path / "file" / "data")


@pytest.mark.long
def test_the_servers_own_reason_is_repeated(passable_path: Path) -> None:
    directory = passable_path / "data"
    EmbeddedPostgres(directory).close()
    with (directory / "data" / "postgresql.conf").open("a") as settings:
        settings.write("max_connections = plenty\n")
    with pytest.raises(DestinationError, match=r'did not start: .*(max_connections|"plenty"|configuration file)'):
        EmbeddedPostgres(directory)
    assert "max_connections" in (directory / "log").read_text()
    assert servers(directory) == []
