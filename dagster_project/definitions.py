"""Everything in ``defs/``: what ``dg dev`` and ``dagster -m vectorferry.dagster.definitions`` load."""

from pathlib import Path

import dagster as dg

__all__ = ["defs"]


@dg.definitions
def defs() -> dg.Definitions:
    """The syncs of ``defs/``. Each is one streaming step, so a run needs no process besides its own."""
    return dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=Path(__file__).parent),
        dg.Definitions(executor=dg.in_process_executor),
    )
