"""The summary as JSON: a shape that scripts can rely on."""

from __future__ import annotations

import json
from typing import Any

from vectorferry import Summary
from vectorferry.connector.plugin import (
    Applied,
    CollectionSummary,
    Counts,
    Delivery,
    DestinationSummary,
    IndexBuild,
    Modality,
    Reason,
    Rejected,
    Usage,
    Visibility,
)

NOTHING = {"inserted": 0, "updated": 0, "unchanged": 0, "deleted": 0, "quarantined": 0}


def test_a_summary_is_plain_json_of_a_fixed_shape() -> None:
    applied = Applied(
        assets=Counts(inserted=1),
        features={Modality.VIDEO: Counts(updated=2), Modality.IMAGE: Counts(unchanged=3)},
        vectors={(Modality.VIDEO, "b"): Counts(deleted=4), (Modality.VIDEO, "a"): Counts()},
        rejected=[Rejected("a1", Reason.NOT_FINITE, "NaN", "f1", "video")],
    )
    index = IndexBuild("video__a", "video__a_hnsw", "hnsw", 10, 0.5)
    delivery = Delivery(5, 1, 900, 6, [Visibility("i/n", 12, 9)])
    summary = Summary(
        "media",
        {"c": CollectionSummary(9, 5, 4, ["p"], ["f"], 1, 1, complete=True, refused=True, note="refused", error="503")},
        {"store": DestinationSummary(applied, {"c": applied}, [index], 7, 8, "gone", delivery)},
        Usage(requests=3, retries=2, bytes=1),
        seconds=1.23456,
        exit_code=1,
    )
    counts: dict[str, Any] = {
        "assets": {**NOTHING, "inserted": 1},
        "features": {"image": {**NOTHING, "unchanged": 3}, "video": {**NOTHING, "updated": 2}},
        "vectors": {"video": {"a": NOTHING, "b": {**NOTHING, "deleted": 4}}},
    }
    assert json.loads(json.dumps(summary.to_dict())) == {
        "sync": "media",
        "run_id": "",
        "exit_code": 1,
        "seconds": 1.235,
        "source": {"requests": 3, "retries": 2, "bytes": 1, "limited": None, "limited_until": None},
        "collections": {
            "c": {
                "listed": 9,
                "unchanged": 5,
                "pulled": 4,
                "reread": 0,
                "second_looks": 0,
                "held_back": {},
                "pending": {"count": 1, "first": ["p"]},
                "failed": {"count": 1, "first": ["f"]},
                "unread": {"count": 0, "first": [], "why": None},
                "complete": True,
                "refused": True,
                "scan": "full",
                "why_full": None,
                "kept": {},
                "gone": False,
                "origin_changes": {},
                "requests": 0,
                "retries": 0,
                "bytes": 0,
                "seconds": 0.0,
                "workers": [],
                "note": "refused",
                "error": "503",
            }
        },
        "destinations": {
            "store": {
                **counts,
                "collections": {"c": counts},
                "indexes": [
                    {"table": "video__a", "index": "video__a_hnsw", "method": "hnsw", "rows": 10, "seconds": 0.5}
                ],
                "quarantined": 7,
                "rejected": [
                    {
                        "asset_id": "a1",
                        "feature_id": "f1",
                        "modality": "video",
                        "reason": "not_finite",
                        "detail": "NaN",
                        "vector_name": "",
                        "column": "",
                        "kept": False,
                    }
                ],
                "replaced_nul": 8,
                "delivery": {
                    "requests": 5,
                    "retries": 1,
                    "bytes": 900,
                    "write_units": 6,
                    "places": [{"place": "i/n", "written": 12, "visible": 9}],
                },
                "notes": [],
                "error": "gone",
            }
        },
        "related": {},
        "notes": ["c: refused", "c: 503", "store: gone"],
    }
