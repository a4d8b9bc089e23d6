"""dlt: a resource merged by its key, with its default strategy, in files of CSV, which it copies. A vector is JSON.

What is gone has to be named, as rows with a `hard_delete` mark. A load that was cut short is ended before a new one
begins, as its docs say.
"""

from __future__ import annotations

import os
from typing import Any

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
import dlt  # type: ignore[import-not-found]
from given import Row, measure  # type: ignore[import-not-found]

PAGE = 1_000
COLUMNS = {"embedding": {"data_type": "json"}, "deleted": {"data_type": "bool", "hard_delete": True}}


def prepare(task: dict[str, Any], rows: list[Row]) -> list[dict[str, Any]]:
    """The rows as dictionaries, those that are gone with the mark."""
    kept = [
        {
            "id": row.id,
            "text": row.text,
            "author": row.author,
            "start": row.start,
            "embedding": row.vector.tolist(),
            "deleted": False,
        }
        for row in rows
    ]
    return kept + [{"id": name, "deleted": True} for name in task["gone"]]


def load(task: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """One run of the pipeline."""

    @dlt.resource(  # type: ignore[untyped-decorator]
        name="vectors",
        primary_key="id",
        write_disposition="merge",
        columns=COLUMNS,
    )
    def vectors() -> Any:
        for begin in range(0, len(rows), PAGE):
            yield rows[begin : begin + PAGE]

    pipeline = dlt.pipeline(
        "peers",
        destination=dlt.destinations.postgres(task["url"]),
        dataset_name="peers",
        pipelines_dir=task["local"],
    )
    if pipeline.has_pending_data:
        pipeline.run()
    pipeline.run(vectors(), loader_file_format="csv")


measure(prepare, load)
