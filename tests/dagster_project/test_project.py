"""The whole way: real processes, the sandbox over HTTP, a real Postgres."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import yaml

from tests.dagster_project.running import materialize, recorded
from tests.examples import family
from tests.tables import differences, row_counts
from vectorferry import load_settings
from vectorferry.dagster import VectorferryResource, VectorferrySync
from vectorferry.destinations import EmbeddedPostgres

BIN = Path(sys.executable).parent
HIDDEN = ("DAGSTER_HOME", "DATABASE_URL", "MIXPEEK_API_KEY", "PYTHONPATH")


def run(folder: Path, command: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run an installed command in a folder, with no more of this process's environment than it needs."""
    kept = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    return subprocess.run(
        [BIN / command, *arguments], cwd=folder, env=kept | environ, capture_output=True, text=True, check=False
    )


def sync_into(url: str, schema: str) -> dict[str, Any]:
    """What a file says of a sync from the sandbox into this schema."""
    return {
        "name": "media",
        "source": {"type": "sandbox", "collections": ["quickstart"]},
        "destinations": [{"type": "pgvector", "url": url, "schema": schema}],
    }


@pytest.mark.long
def test_with_nothing_configured_a_partition_is_materialized_into_an_embedded_postgres(tmp_path: Path) -> None:
    arguments = [
        "-m",
        "vectorferry.dagster.definitions",
        "--select",
        "media/video,media/image",
        "--partition",
        "quickstart",
    ]
    result = run(tmp_path, "dagster", "asset", "materialize", *arguments)
    assert result.returncode == 0, result.stderr[-3_000:]
    with EmbeddedPostgres(tmp_path / ".vectorferry" / "postgres") as server, psycopg.connect(server.url) as connection:
        counts = row_counts(connection, "media")
    assert counts["video"] > 0
    assert counts["video__multimodal_v1"] == counts["video"]
    assert counts["text"] == 0


@pytest.fixture
def strangers_project(tmp_path: Path) -> Path:
    """A project of somebody who has installed Vectorferry and wrote one YAML file."""
    (tmp_path / "acme" / "defs" / "videos").mkdir(parents=True)
    (tmp_path / "acme" / "__init__.py").touch()
    (tmp_path / "acme" / "definitions.py").write_text(
        "from pathlib import Path\nimport dagster as dg\n\n"
        "@dg.definitions\ndef defs():\n"
        "    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)\n"
    )
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "acme"\nversion = "0"\n'
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "acme"\n'
    )
    return tmp_path


def describe(project: Path, source: dict[str, object], destinations: Sequence[dict[str, object]]) -> None:
    attributes = {"name": "videos", "source": source, "destinations": list(destinations)}
    text = yaml.safe_dump({"type": "vectorferry.dagster.VectorferrySync", "attributes": attributes})
    (project / "acme" / "defs" / "videos" / "defs.yaml").write_text(text)


@pytest.mark.long
@pytest.mark.parametrize(
    ("source", "vector"),
    [
        ({"type": "mixpeek"}, "multimodal-v1"),
        ({"type": "twelvelabs", "collections": ["films"], "embed_tasks": True}, "marengo3.0-visual"),
    ],
)
def test_a_strangers_project_needs_one_yaml_file(
    strangers_project: Path, source: dict[str, object], vector: str
) -> None:
    pinecone: dict[str, object] = {"type": "pinecone", "api_key": "${PINECONE_API_KEY}", "vectors": [vector]}
    describe(strangers_project, source, [{"type": "pgvector", "url": "${DATABASE_URL}"}, pinecone])
    checked = run(strangers_project, "dg", "check", "defs")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_paths_of_a_component_begin_at_its_project(
    strangers_project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe(strangers_project, {"type": "sandbox"}, [{"type": "pgvector"}])
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    monkeypatch.syspath_prepend(strangers_project)
    tree = dg.ComponentTree.for_project(strangers_project)
    (component,) = tree.get_all_components(of_type=VectorferrySync)
    from_dagster, from_command = component.settings(), load_settings(strangers_project / "acme/defs/videos/defs.yaml")
    (file_says,), (command_says,) = from_dagster.destinations, from_command.destinations
    assert file_says.data_directory == command_says.data_directory == strangers_project / ".vectorferry" / "postgres"
    resource = VectorferryResource.of(from_dagster).settings()
    assert resource.destinations[0].data_directory == file_says.data_directory


@pytest.mark.long
def test_dagster_and_the_command_line_use_one_database_wherever_they_run(
    strangers_project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    describe(strangers_project, {"type": "sandbox", "collections": ["quickstart"]}, [{"type": "pgvector"}])
    one, other = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    select = ["-m", "acme.definitions", "--select", "videos/video", "--partition", "quickstart"]
    made = run(one, "dagster", "asset", "materialize", *select, PYTHONPATH=str(strangers_project))
    assert made.returncode == 0, made.stderr[-3_000:]
    assert list(one.iterdir()) == []
    file = strangers_project / "acme/defs/videos/defs.yaml"
    told = run(other, "vectorferry", "status", "--json", "-c", str(file))
    assert json.loads(told.stdout)["destinations"][0]["tables"][0]["collections"]["quickstart"] > 0, told.stderr


@pytest.mark.long
def test_check_defs_names_the_key_and_the_fix(strangers_project: Path) -> None:
    describe(strangers_project, {"type": "mixpeek", "base_ulr": "x"}, [{"type": "pgvector"}])
    checked = run(strangers_project, "dg", "check", "defs")
    assert checked.returncode != 0
    said = checked.stdout + checked.stderr
    assert "acme/defs/videos/defs.yaml: source.base_ulr: unknown key; did you mean base_url?" in said


@pytest.mark.long
@pytest.mark.parametrize("again", family([True, False]))
def test_a_run_and_the_command_leave_the_same_state(
    tmp_path: Path, postgres_url: str, schema: str, instance: dg.DagsterInstance, again: bool
) -> None:
    defs, other = dg.build_defs_for_component(VectorferrySync(**sync_into(postgres_url, schema))), f"{schema}_cli"
    for _ in range(1 + again):
        assert materialize(defs, instance, "quickstart").success
    (tmp_path / "vectorferry.yaml").write_text(yaml.safe_dump(sync_into("${DATABASE_URL}", other)))
    synced = run(tmp_path, "vectorferry", "sync", "--collection", "quickstart", DATABASE_URL=postgres_url)
    assert synced.returncode in (0, 3), synced.stderr
    with psycopg.connect(postgres_url) as connection:
        assert differences(connection, schema, other) == []
        rows = row_counts(connection, schema)["video"]
    said = recorded(instance, "media/video")["quickstart"]
    assert (said["dagster/row_count"], said["dagster/partition_row_count"]) == (rows, rows)
    assert (said["inserted"], said["assets_unchanged"] > 0) == (0 if again else rows, again)
    assert "multimodal-v1" in [column.name for column in said["dagster/column_schema"].columns]


THEIRS = {
    "connector/__init__.py": 'OWNER = "them"\n',
    "destinations/__init__.py": 'OWNER = "them"\n',
    "dagster_project/__init__.py": 'OWNER = "them"\n',
    "dagster_project/definitions.py": """
from pathlib import Path
import dagster as dg

@dg.definitions
def defs():
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
""",
    "dagster_project/defs/code.py": """
import connector, dagster as dg, dagster_project, destinations
from vectorferry import Modality, SearchQuery, parse_settings
from vectorferry.dagster import VectorferryResource, vectorferry_assets

assert {each.OWNER for each in (connector, dagster_project, destinations)} == {"them"}
settings = parse_settings(%(settings)r, "code.py")

@vectorferry_assets(settings, name="coded")
def coded(context: dg.AssetExecutionContext, vectorferry: VectorferryResource):
    yield from vectorferry.run(context)

@dg.asset(deps=[["coded", "video"]])
def neighbours(vectorferry: VectorferryResource) -> dg.MaterializeResult:
    with vectorferry.connection() as connection:
        (like,) = connection.execute("SELECT min(feature_id) FROM %(schema)s.video").fetchone()
    answer = vectorferry.search(SearchQuery(Modality.VIDEO, "multimodal-v1", like=like, limit=3))
    return dg.MaterializeResult(metadata={"nearest": len(answer.rows)})

defs = dg.Definitions([coded, neighbours], resources={"vectorferry": VectorferryResource.of(settings)})
""",
    "pyproject.toml": '[project]\nname = "theirs"\nversion = "0"\n[tool.dg]\ndirectory_type = "project"\n'
    '[tool.dg.project]\nroot_module = "dagster_project"\n',
}


@pytest.mark.long
def test_a_project_with_packages_of_the_same_names_uses_component_decorator_and_resource(
    tmp_path: Path, postgres_url: str, schema: str
) -> None:
    coded = {**sync_into("${DATABASE_URL}", schema), "name": "coded"}
    for path, text in THEIRS.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text % {"settings": coded, "schema": schema} if path.endswith("code.py") else text)
    written = {**sync_into("${DATABASE_URL}", f"{schema}_yaml"), "name": "written"}
    component = yaml.safe_dump({"type": "vectorferry.dagster.VectorferrySync", "attributes": written})
    (tmp_path / "dagster_project" / "defs" / "written").mkdir()
    (tmp_path / "dagster_project" / "defs" / "written" / "defs.yaml").write_text(component)
    environ = {"DATABASE_URL": postgres_url, "PYTHONPATH": str(tmp_path)}
    checked = run(tmp_path, "dg", "check", "defs", **environ)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    module = ("asset", "materialize", "-m", "dagster_project.definitions", "--select")
    for select in (
        ("written/video", "--partition", "quickstart"),
        ("coded/video", "--partition", "quickstart"),
        ("neighbours",),
    ):
        result = run(tmp_path, "dagster", *module, *select, **environ)
        assert result.returncode == 0, result.stderr[-3_000:]
    with psycopg.connect(postgres_url) as connection:
        assert row_counts(connection, schema)["video"] == row_counts(connection, f"{schema}_yaml")["video"] > 0
