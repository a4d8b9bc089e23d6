"""What a worker has done, as JSON: taken where it was done, and added where the summary is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from vectorferry.connector._engine._mapper import Mapper
from vectorferry.connector._engine.sync._lane import Lane
from vectorferry.connector._engine.sync._losses import RowKind
from vectorferry.connector._engine.sync._transfer import Job, Transfer, name_asset
from vectorferry.connector._model._batch import Applied, Counts
from vectorferry.connector._model._records import MODALITIES, Listing, Modality, Reason, Rejected
from vectorferry.connector._protocols._source import Usage
from vectorferry.connector._reports._summary import CollectionSummary

Tally = Mapping[str, Any]


class Tallies:
    """What has been done of one collection since it was last taken."""

    def __init__(self, job: Job, collection: str, summary: CollectionSummary) -> None:
        self._job = job
        self._collection = collection
        self._summary = summary
        self._usage = replace(job.source.usage)

    def take(self, missed: Sequence[str]) -> Tally:
        """It begins anew then. `missed` assets were asked for, and not given."""
        summary, usage = self._summary, replace(self._job.source.usage)
        tally = {
            "pulled": summary.pulled,
            "unread": {"count": summary.unread_count, "first": summary.unread, "why": summary.why_unread},
            "missed": list(missed),
            "usage": asdict(used(usage, self._usage)),
            "use": self._job.mapper.use.take(),
            "lanes": {lane.name: self._of_lane(lane) for lane in self._job.lanes},
        }
        self._usage = usage
        summary.pulled = summary.unread_count = 0
        summary.unread, summary.why_unread = [], None
        return tally

    def _of_lane(self, lane: Lane) -> Tally:
        applied = lane.summary.by_collection[self._collection]
        lane.summary.by_collection[self._collection] = Applied()
        listings, lost = lane.held_back.waiting()
        tally = {
            "applied": _applied(applied),
            "replaced_nul": lane.summary.replaced_nul,
            "left_out": lane.left_out,
            "written": lane.written,
            "dimensions": sorted(lane.dimensions, key=str),
            "held_back": [[each.asset_id, each.fingerprint, each.turn] for each in listings],
            "lost": [[*kind, rows] for kind, rows in lost.items()],
        }
        lane.summary.replaced_nul = lane.left_out = lane.written = 0
        lane.dimensions = set()
        return tally


def used(after: Usage, before: Usage) -> Usage:
    """What was used between the two."""
    return Usage(after.requests - before.requests, after.retries - before.retries, after.bytes - before.bytes)


def total(*usages: Usage) -> Usage:
    """All of it together."""
    return Usage(sum(u.requests for u in usages), sum(u.retries for u in usages), sum(u.bytes for u in usages))


def add_tally(tally: Tally, lanes: Sequence[Lane], mapper: Mapper, transfer: Transfer, to: CollectionSummary) -> None:
    """Count what another worker has done as if it had been done here."""
    to.pulled += tally["pulled"]
    unread = tally["unread"]
    to.unread_count += unread["count"]
    to.why_unread = to.why_unread or unread["why"]
    for asset_id in unread["first"]:
        name_asset(to.unread, asset_id)
    transfer.missed.extend(tally["missed"])
    to.usage_of_workers = total(to.usage_of_workers, Usage(**tally["usage"]))
    mapper.use.add(tally["use"])
    for lane in lanes:
        if (of_lane := tally["lanes"].get(lane.name)) is not None:
            _add_to_lane(lane, of_lane)


def finished_part(tally: Tally) -> Tally:
    """Only what was written, for a run that lists again: it finds by itself what was not, or was set aside as a whole,
    and counts as unchanged what was."""
    return {
        **tally,
        "unread": {"count": 0, "first": [], "why": None},
        "missed": [],
        "lanes": {
            name: {
                **of_lane,
                "left_out": 0,
                "held_back": [],
                "lost": [],
                "applied": _applied(_finished(_read_applied(of_lane["applied"]))),
            }
            for name, of_lane in tally["lanes"].items()
        },
    }


def listed_again(applied: Applied) -> Applied:
    """What to add to these counts where the assets are listed again from the beginning, so that what was written, was
    unchanged, or was set aside as a whole, is not counted a second time then."""
    features = {modality: _listed_again(counts) for modality, counts in applied.features.items()}
    assets = _listed_again(applied.assets)
    assets.quarantined = _of_written(applied.rejected) - applied.assets.quarantined
    return Applied(assets, features)


def overdrawn(applied: Applied) -> Applied:
    """What to add to these counts so that none of them is less than nothing."""
    features = {modality: _overdrawn(counts) for modality, counts in applied.features.items()}
    return Applied(_overdrawn(applied.assets), features)


def _listed_again(counts: Counts) -> Counts:
    return Counts(unchanged=-counts.inserted - counts.updated - counts.unchanged)


def _overdrawn(counts: Counts) -> Counts:
    return Counts(unchanged=max(0, -counts.unchanged))


def _of_written(rejected: Sequence[Rejected]) -> int:
    """How many count as assets and are parts of one that was written: of no modality that is known."""
    return sum(bool(each.feature_id) and each.modality not in MODALITIES for each in rejected)


def _finished(applied: Applied) -> Applied:
    applied.rejected = [record for record in applied.rejected if record.feature_id]
    applied.assets.quarantined = _of_written(applied.rejected)
    for counts in (applied.assets, *applied.features.values()):
        counts.unchanged = -counts.inserted - counts.updated
    return applied


def _add_to_lane(lane: Lane, tally: Tally) -> None:
    lane.record(_read_applied(tally["applied"]))
    lane.summary.replaced_nul += tally["replaced_nul"]
    lane.left_out += tally["left_out"]
    lane.written += tally["written"]
    lane.dimensions |= {(Modality(modality), name, dimension) for modality, name, dimension in tally["dimensions"]}
    listings = [Listing(asset_id, fingerprint, turn=turn) for asset_id, fingerprint, turn in tally["held_back"]]
    lost: Counter[RowKind] = Counter({(Modality(modality), name): rows for modality, name, rows in tally["lost"]})
    lane.held_back.wait_for(listings, lost)


def _applied(applied: Applied) -> Tally:
    return {
        "assets": asdict(applied.assets),
        "features": [[modality, asdict(counts)] for modality, counts in applied.features.items()],
        "vectors": [[*key, asdict(counts)] for key, counts in applied.vectors.items()],
        "rejected": [asdict(each) for each in applied.rejected],
    }


def _read_applied(tally: Tally) -> Applied:
    return Applied(
        assets=Counts(**tally["assets"]),
        features={Modality(modality): Counts(**counts) for modality, counts in tally["features"]},
        vectors={(Modality(modality), name): Counts(**counts) for modality, name, counts in tally["vectors"]},
        rejected=[Rejected(**{**each, "reason": Reason(each["reason"])}) for each in tally["rejected"]],
    )
