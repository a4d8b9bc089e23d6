"""What a worker runs: ``celery --app media.celery_app worker --queues dagster``."""

from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_task

from media.engine import celery_config

app = make_app(celery_config())  # type: ignore[no-untyped-call]
execute_plan = create_task(app)  # type: ignore[no-untyped-call]
