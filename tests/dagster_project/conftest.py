"""Dagster definitions of a sync between an in-memory source and destination, on a throw-away instance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from tests.connector.cli.plugins import install
from tests.connector.worlds import assets
from tests.dagster_project import plugins
from vectorferry.connector.testing import MemoryDestination
from vectorferry.dagster import VectorferrySync

HERE = "tests.dagster_project.plugins"

Load = Callable[..., dg.Definitions]


@pytest.fixture(scope="session", autouse=True)
def _migrations_are_read_once() -> Iterator[None]:
    """Every new instance marks its tables as migrated, for which alembic reads Dagster's ninety migrations twice: that
    takes longer than most of what a test does with the instance."""
    read: dict[str | None, ScriptDirectory] = {}
    from_config = ScriptDirectory.from_config

    def remembered(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in read:
            read[place] = from_config(config)
        return read[place]

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(ScriptDirectory, "from_config", remembered)
        yield


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plug-ins `shelf`, `box` and `rack`."""
    site = tmp_path / "site"
    install(
        site,
        {
            "vectorferry.sources": {"shelf": f"{HERE}:ShelfSettings"},
            "vectorferry.destinations": {"box": f"{HERE}:BoxSettings", "rack": f"{HERE}:RackSettings"},
        },
        package="ferry-shelf",
    )
    monkeypatch.syspath_prepend(site)


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> plugins.ShelfSource:
    """What the plug-in `shelf` reads: three collections."""
    source = plugins.ShelfSource({"ads": assets(3), "lectures": assets(2), "news": assets(1)})
    monkeypatch.setitem(plugins.SOURCES, "shelf", source)
    monkeypatch.setattr(plugins, "KEYS_SEEN", [])
    return source


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> MemoryDestination:
    """What the plug-in `box` writes."""
    box = MemoryDestination("box")
    monkeypatch.setitem(plugins.DESTINATIONS, "box", box)
    return box


@pytest.fixture
def rack(monkeypatch: pytest.MonkeyPatch) -> plugins.RackDestination:
    """What the plug-in `rack` writes."""
    rack = plugins.RackDestination("rack")
    monkeypatch.setitem(plugins.DESTINATIONS, "rack", rack)
    return rack


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance with nothing in it."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance on disk, which schedules and sensors insist on."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def load(request: pytest.FixtureRequest) -> Load:
    """Builds the definitions of a sync named `media`; keyword arguments are further attributes."""
    request.getfixturevalue("source")
    request.getfixturevalue("box")

    def build(source: dict[str, Any] | None = None, **attributes: Any) -> dg.Definitions:
        component = VectorferrySync(
            **{
                "name": "media",
                "source": {"type": "shelf", **(source or {})},
                "destinations": [{"type": "box"}],
                **attributes,
            }
        )
        return dg.build_defs_for_component(component)

    return build
