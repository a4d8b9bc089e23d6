"""Keeps an embedded Postgres to the runs that can all reach it: another machine or folder would get a second one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Final

import dagster as dg
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher

from vectorferry import SyncSettings
from vectorferry.connector.plugin import ConfigurationError

DIRECTORIES: Final = "vectorferry/data_directories"
"""In the metadata of a materialization: the folders on its machine that hold what it made; none: all is on servers."""

LOCAL_EXECUTORS: Final = frozenset(
    {"in_process", "multiprocess", "multi_or_in_process_executor", "execute_in_process_executor"}
)
LOCAL_LAUNCHERS: Final = (dg.DefaultRunLauncher, SyncInMemoryRunLauncher)


def local_data(settings: SyncSettings) -> list[Path]:
    """The folders of this machine that a sync's destinations keep their data in. A relative one begins at the
    project of its component file, and without a file at the working directory of the process."""
    folders = [each.data_directory for each in settings.destinations]
    return list(dict.fromkeys(folder.expanduser().absolute() for folder in folders if folder is not None))


def local_data_metadata(settings: SyncSettings) -> dict[str, Any]:
    """What a materialization says of them."""
    return {DIRECTORIES: dg.MetadataValue.json([str(folder) for folder in local_data(settings)])}


def check_local_data(
    context: dg.AssetExecutionContext, settings: SyncSettings, assets: Collection[dg.AssetKey]
) -> None:
    """Raise `ConfigurationError` where a run would fill a second embedded Postgres without a word.

    That is where the next run may be on another machine; and where the folder is not there although the instance has
    materializations of these assets, or is not the one that they say they are in. What was never materialized is made.
    """
    folders = local_data(settings)
    if not folders:
        return
    if elsewhere := _not_local(context):
        raise ConfigurationError(
            f"{settings.where}: {elsewhere} may start each run on another machine, with an embedded Postgres of its "
            f"own in {', '.join(map(str, folders))}. Give the destination the `url` of a Postgres that they all reach."
        )
    recorded = _recorded(context.instance, assets)
    for folder in folders:
        if _is_second(folder, folders, recorded):
            raise ConfigurationError(_second(settings.where, folder, recorded))


def _not_local(context: dg.AssetExecutionContext) -> str | None:
    """What may start runs on other machines, as far as is known: whatever is not known not to."""
    executor, launcher = context.job_def.executor_def.name, context.instance.run_launcher
    if executor not in LOCAL_EXECUTORS:
        return f"the executor {executor!r}"
    return None if isinstance(launcher, LOCAL_LAUNCHERS) else f"the run launcher {type(launcher).__name__}"


def _recorded(instance: dg.DagsterInstance, assets: Iterable[dg.AssetKey]) -> set[Path | None]:
    """The folders that the newest materializations of these assets name; None for one that says nothing of any."""
    events = filter(None, map(instance.get_latest_materialization_event, assets))
    made = [event.asset_materialization for event in events]
    return {folder for each in made if each for folder in _folders(each.metadata.get(DIRECTORIES))}


def _folders(value: object) -> list[Path | None]:
    data = value.data if isinstance(value, dg.JsonMetadataValue) else None
    return [Path(str(each)) for each in data] if isinstance(data, list) else [None]


def _is_second(folder: Path, folders: Collection[Path], recorded: Collection[Path | None]) -> bool:
    """Whether there is, or was, an embedded Postgres with the data that this one is to get. One that the sync has been
    given in addition to those that are recorded is a first one."""
    others = [other for other in recorded if other not in folders]
    if not _holds_data(folder):
        return folder in recorded or bool(others)
    return folder not in recorded and any(other and _holds_data(other) for other in others)


def _second(where: str, folder: Path, recorded: Iterable[Path | None]) -> str:
    before = ", ".join(sorted(str(each) for each in recorded if each and each != folder))
    return (
        f"{where}: what this run is to fill has been materialized before{', into ' + before if before else ''}, but it "
        f"works in {Path.cwd()} and would {'use' if _holds_data(folder) else 'make'} another embedded Postgres, in "
        f"{folder}.\nGive the destination a `url`, or an absolute `directory`, or start every Dagster process in the "
        "same folder. If the data is gone for good, wipe the materializations of these assets (`dagster asset wipe`) "
        "and run again: assets that have none are made from the beginning."
    )


def _holds_data(folder: Path) -> bool:
    return (folder / "data" / "PG_VERSION").exists()
