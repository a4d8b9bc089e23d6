"""The syncs of ``defs/``, on the engine that the variable EXECUTOR names."""

from pathlib import Path

import dagster as dg

from media.engine import executor


@dg.definitions
def defs() -> dg.Definitions:
    """What the code location loads."""
    return dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=Path(__file__).parent),
        dg.Definitions(executor=executor()),
    )
