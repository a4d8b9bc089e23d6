"""Where steps run. Runs and Celery's workers both read this, since both have to be told the same."""

import os
from typing import Any

import dagster as dg


def executor() -> dg.ExecutorDefinition:
    """Celery's workers, a pod for each step, or processes beside the run: celery, kubernetes, multiprocess."""
    name = os.environ.get("EXECUTOR", "multiprocess")
    if name == "celery":
        from dagster_celery import celery_executor

        return celery_executor.configured(celery_config(), name="celery")
    if name == "kubernetes":
        from dagster_k8s import k8s_job_executor

        return k8s_job_executor
    return dg.multiprocess_executor


def celery_config() -> dict[str, Any]:
    """Broker, results, and that a step whose worker is lost is given to another one."""
    return {
        "broker": os.environ["CELERY_BROKER"],
        "backend": os.environ["CELERY_BACKEND"],
        "config_source": {
            # A step is taken off the queue when it has ended, and not when it begins.
            "task_acks_late": True,
            # One whose process was killed goes back at once; without this it fails, and the run with it.
            "task_reject_on_worker_lost": True,
            # One whose worker or machine is gone goes back after this time. One that takes longer is given to a
            # second worker as well, which waits for the first one's collections.
            "broker_transport_options": {
                "visibility_timeout": int(os.environ.get("CELERY_VISIBILITY_SECONDS", "7200"))
            },
            # A waiting step stays in the queue, where an idle worker can take it.
            "worker_prefetch_multiplier": 1,
            "task_default_queue": "dagster",
        },
    }
