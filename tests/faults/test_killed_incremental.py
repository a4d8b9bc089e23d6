"""Kill -9 a run that lists only changes: the next run passes nothing over, for the cursor moves last of all."""

from __future__ import annotations

from functools import partial
from typing import Any

import psycopg
import pytest

from ..tables import differences
from ..waiting import wait_until
from .following import follow, start_following
from .killing import kill, wait_for

CHANGED = 5
HOLDS = ("SELECT FROM {}.assets WHERE asset_id = 'a0002' FOR UPDATE", "LOCK TABLE {}._sync_cursors IN EXCLUSIVE MODE")
"""What stops a run after its first batch, and after its last one, when it has sent the cursor."""

RUNNING = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vectorferry'"


def is_held_up(connection: psycopg.Connection[Any], holder: int) -> bool:
    """Whether somebody waits for what this backend holds."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
    return connection.execute(waiting, [holder]).fetchone() != (0,)


@pytest.mark.long
def test_killed_after_its_first_batch_and_after_its_last(postgres_url: str, schema: str) -> None:
    undisturbed = f"{schema}_undisturbed"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for name in (schema, undisturbed):
            assert follow(postgres_url, name, 0).scan == "full"
        for hold in HOLDS:
            with psycopg.connect(postgres_url) as holding:
                holding.execute(hold.format(schema))
                process = start_following(postgres_url, schema, CHANGED)
                wait_for(process, partial(is_held_up, connection, holding.info.backend_pid))
                kill(process)
        wait_until(lambda: connection.execute(RUNNING).fetchone() == (0,))  # what has been sent is done yet
        seen = [follow(postgres_url, name, CHANGED) for name in (undisturbed, schema)]
        whole, rest = [(each.scan, each.listed, each.pulled) for each in seen]
        assert whole == ("incremental", CHANGED + 1, CHANGED)
        # A cursor that was sent as its sender died counts, unless the server had not come to its commit: then the same
        # assets are listed again, and none is read.
        assert rest in [("incremental", 1, 0), ("incremental", CHANGED + 1, 0)]
        assert (
            differences(connection, undisturbed, schema, ["incremental_scans"]) == []
        )  # one run more has come to its end
