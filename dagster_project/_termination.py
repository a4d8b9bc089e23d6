"""What ends a step together with its run, where the executor does not."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import dagster as dg

from vectorferry.dagster._local_data import LOCAL_EXECUTORS

SECONDS_BETWEEN_LOOKS: Final = 5.0
SECONDS_TO_END: Final = 30.0
"""Python drops an interruption that meets it in a destructor or in a callback of its collector; so another one follows,
when what is cancelled and closed has had its time."""

OVER: Final = frozenset({dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE})


@contextmanager
def ended_with_run(context: dg.OpExecutionContext | dg.AssetExecutionContext) -> Iterator[None]:
    """Stop what is done in the block soon after somebody has terminated the run, or it has been given up.

    Dagster's Celery executor takes steps off the queue that no worker has begun, and waits for the others
    (`dagster_celery/core_execution_loop.py`: `revoke` without `terminate`); of a run that is ended for its
    ``max_runtime``, workers are not told at all. Local executors send their processes a signal.

    Raises `dg.Failure` in place of Dagster's own interruption, which would end the worker's process, and have Celery
    give the step to another one.
    """
    if context.job_def.executor_def.name in LOCAL_EXECUTORS:
        yield
        return
    ended, over = threading.Event(), threading.Event()
    watch = threading.Thread(target=_watch, args=(context.instance, context.run.run_id, ended, over), daemon=True)
    watch.start()
    try:
        yield
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
        if not over.is_set():
            raise
        raise dg.Failure("the run of this step has been ended; what was written stays", allow_retries=False) from None
    finally:
        ended.set()
        watch.join()


def _watch(instance: dg.DagsterInstance, run_id: str, ended: threading.Event, over: threading.Event) -> None:
    pause = SECONDS_BETWEEN_LOOKS
    while not ended.wait(pause):
        with suppress(Exception):  # of whatever storage the instance has: it is asked again
            run = instance.get_run_by_id(run_id)
            if run is None or run.status in OVER:
                over.set()
                if not ended.is_set():
                    _thread.interrupt_main(signal.SIGINT)  # in the main thread Dagster has a handler for it
                pause = SECONDS_TO_END
