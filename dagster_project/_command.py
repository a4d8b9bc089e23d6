"""The command that adds partitions, for deployments that do not run the discovery sensor."""

from __future__ import annotations

from collections.abc import Mapping
from os import environ
from pathlib import Path
from typing import Annotated, Any, NoReturn

import dagster as dg
import typer
from dagster_shared.utils.config import discover_config_file

from vectorferry.connector.plugin import ConfigurationError, VectorferryError, closest
from vectorferry.dagster._component import VectorferrySync
from vectorferry.dagster._partitions import CollectionPartitions, Collections

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help="Vectorferry's Dagster project.")
SyncOption = Annotated[str | None, typer.Option("--sync", metavar="NAME", help="Only this sync, not all of them.")]
ProjectOption = Annotated[
    Path | None,
    typer.Option("--project", help="A Dagster project's folder. Default: the current one, or else Vectorferry's own."),
]


@app.callback()
def _commands() -> None:
    """Keep `discover` a command with a name, although it is the only one."""


@app.command()
def discover(sync: SyncOption = None, project: ProjectOption = None) -> None:
    """Add a partition per collection to the Dagster instance of DAGSTER_HOME, and print every partition key."""
    try:
        with _instance() as instance:
            for component in _component_called(_components(project), sync):
                _add(component, instance)
    except Exception as error:
        _stop(error)


def _add(component: VectorferrySync, instance: dg.DagsterInstance) -> None:
    settings = component.settings()
    keys = Collections(settings, environ).keys()
    new = CollectionPartitions.of(settings).add(instance, keys)
    for key in keys:
        typer.echo(f"{settings.name}\t{key}\t{'added' if key in new else 'known'}")


def _instance() -> dg.DagsterInstance:
    home = environ.get("DAGSTER_HOME")
    if home and not Path(home).is_dir():
        raise ConfigurationError(f"DAGSTER_HOME is {home}, which is not there: make that folder, or correct it")
    if not home:
        raise ConfigurationError(
            "DAGSTER_HOME is not set, so there is no Dagster instance to add partitions to; "
            "set it to the folder that `dg dev` or your Dagster service uses"
        )
    return dg.DagsterInstance.get()


def _components(project: Path | None) -> list[VectorferrySync]:
    """The syncs of a Dagster project: of this one, of the one around the current folder, or of Vectorferry's own."""
    folder = project or (Path.cwd() if discover_config_file(Path.cwd(), _is_project) else Path(__file__).parent)
    return dg.ComponentTree.for_project(folder).get_all_components(of_type=VectorferrySync)


def _is_project(config: Mapping[str, Any]) -> bool:
    """Whether a ``dg.toml`` or ``pyproject.toml``, given without ``tool.dg``, describes a project."""
    return config.get("directory_type") == "project"


def _component_called(components: list[VectorferrySync], name: str | None) -> list[VectorferrySync]:
    matching = [component for component in components if name in (None, component.name)]
    if not matching:
        names = ", ".join(component.name for component in components) or "none"
        near = closest(name or "", (component.name for component in components))
        raise ConfigurationError(f"no such sync in this project (it has: {names}){near}")
    return matching


def _stop(error: Exception) -> NoReturn:
    """Say what went wrong in our own words; Dagster wraps what loading a component raises."""
    cause = error if isinstance(error, VectorferryError) else error.__cause__
    if not isinstance(cause, VectorferryError):
        raise error
    typer.echo(str(cause), err=True)
    raise typer.Exit(cause.exit_code)
